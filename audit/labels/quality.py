"""What is known of every given label: one row per image, measured once, read by the label checks, the reports and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.io.blocks import blocks
from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.labels.noise import TEMPER, Noise, Suspicion, estimate_noise, suspect

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from audit.labels.conflicts import Part


def label_codes(labels: pd.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return int64 ``[n]`` columns of labels; -1 where there is none, or one that no column knows."""
    return np.asarray(pd.Index(np.array(classes, dtype=object)).get_indexer(pd.Index(labels.astype(object))), dtype=np.int64)


def judge_labels(
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    pairs: pd.DataFrame | None = None,
    *,
    images: npt.NDArray[np.bytes_] | None = None,
) -> pd.DataFrame:
    """Judge every given label.

    Copies of a picture with different labels are the most certain evidence there is: they are several annotations of one thing, of which all but
    one kind must be wrong. All labelled copies vote, also those that agree, and what is known of the picture counts once: their joint posterior
    (Dawid & Skene 1979, with as many annotators as copies) replaces the single one, as far as it is certain that they are one picture.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows where there is none. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        pairs: columns of ``audit.tables.PAIRS``.
        images: ``[n]`` digests of the images, so that the order of the rows decides nothing where they are many.

    Returns:
        Columns of ``audit.tables.LABEL_QUALITY``.
    """
    noise = estimate_noise(predictions, given, images=images)
    found = _with_copies(suspect(predictions, given, noise), predictions, given, noise, disagreeing_duplicate_sets(pairs, given))
    return pd.DataFrame(
        {
            "given": given.astype(np.int32),
            "predicted": found.predicted.astype(np.int32),
            "predicted_probability": found.top,
            "given_probability": found.own,
            "alternative": found.other.astype(np.int32),
            "probability_wrong": found.probability,
            "score": found.score,
        }
    )


def _with_copies(
    found: Suspicion,
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    noise: Noise,
    pictures: Iterable[list[Part]],
) -> Suspicion:
    """Replace what is said of each copy alone; what remains of it is the chance that the copies are none."""
    jointly, certainty, other = np.zeros(len(given)), np.zeros(len(given)), found.other.copy()
    for part in (part for parts in pictures for part in parts):
        labels, at, votes = np.unique(given[part.rows], return_inverse=True, return_counts=True)
        posterior = _joint_posterior(_mean_prediction(predictions, part.rows), noise, labels, votes)
        jointly[part.rows] += part.weight * (1 - posterior[labels])[at]
        certainty[part.rows] += part.weight
        first, second = np.argsort(-posterior, kind="stable")[:2]
        other[part.rows] = np.where(labels == first, second, first)[at]
    rows = np.flatnonzero(certainty)
    score, probability = found.score.copy(), found.probability.copy()
    for told in (score, probability):
        told[rows] = np.clip(jointly[rows] + (1 - certainty[rows]) * np.nan_to_num(told[rows]), 0, 1)
    return found._replace(score=score, probability=probability, other=other)


def _mean_prediction(predictions: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return ``[c]`` the mean over the rows that have a prediction; the same of every class where none has."""
    classes = predictions.shape[1]
    total, count = np.zeros(classes), 0
    for part in blocks(rows, classes):
        known = np.asarray(predictions[part])
        known = known[np.isfinite(known[:, 0])]
        total += known.sum(0, dtype=np.float64)
        count += len(known)
    return total / count if count else np.full(classes, 1 / classes)


def _joint_posterior(
    prior: npt.NDArray[np.float64], noise: Noise, labels: npt.NDArray[np.int64], votes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return ``[c]`` how probable each true class is where so many copies carry each label; in logarithms, since a thousand copies are possible."""
    logits = np.log(np.maximum(prior, 1e-30)) + TEMPER * (votes @ np.log(noise.transition.T[labels].astype(np.float64)))
    posterior = np.exp(logits - logits.max())
    return np.asarray(posterior / posterior.sum(), dtype=np.float64)

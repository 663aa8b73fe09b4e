"""Label quality: one row per image, computed once and read by the label checks, the reports and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from audit.io.blocks import blocks
from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.labels.noise import Noise, estimate_noise
from audit.labels.self_test import SelfTest, self_test
from audit.labels.suspicion import VOTE_WEIGHT, Suspicion, suspect
from audit.predictions.calibration import softmax

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from audit.labels.conflicts import Part


def label_codes(labels: pd.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return int64 ``[n]``: the column of each label; -1 for no label or one without a column."""
    return np.asarray(pd.Index(np.array(classes, dtype=object)).get_indexer(pd.Index(labels.astype(object))), dtype=np.int64)


class Judgment(NamedTuple):
    """Every given label judged, and what is known about the judgement."""

    table: pd.DataFrame
    """Columns of ``audit.tables.LABEL_QUALITY``."""
    noise: Noise
    test: SelfTest | None

    def facts(self, classes: list[str]) -> dict[str, Any]:
        """Return what a run's record keeps, as JSON values; empty without a self-test.

        Args:
            classes: names of the columns.
        """
        if self.test is None:
            return {}
        share, low, high = (float(self.table[name].mean()) for name in ("probability_wrong", "probability_low", "probability_high"))
        judged = int(self.table["probability_wrong"].notna().sum())
        return {
            "label_noise": {
                "kind": self.noise.kind,
                "share": self.noise.share,
                "temperature": self.noise.temperature,
                "systematic": [[classes[pair.true], classes[pair.given], pair.rate, round(pair.share * judged)] for pair in self.noise.systematic],
            },
            "self_test": {
                "wrong_share": share,
                "wrong_share_interval": [low, high],
                "changed": self.test.changed,
                "found": self.test.found,
                "flagged": self.test.flagged,
                "found_random": self.test.found_random,
                "found_confusable": self.test.found_confusable,
                "cannot_help": [classes[at] for at in self.test.helpless],
            },
        }


def judge_labels(
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    pairs: pd.DataFrame | None = None,
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    supplied: bool = False,
) -> pd.DataFrame:
    """Judge every given label; the table of `judge`, which has the arguments."""
    return judge(predictions, given, pairs, images=images, supplied=supplied).table


def judge(
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    pairs: pd.DataFrame | None = None,
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    supplied: bool = False,
) -> Judgment:
    """Judge every given label, and test the judgement on labels that are changed on purpose.

    Copies with different labels are the strongest evidence: they are several annotations of one image, of which all but one label must be wrong.
    All labelled copies vote, also those that agree, and the prediction counts once: their joint posterior (Dawid & Skene 1979, one annotator per
    copy) replaces the single one, weighted by the certainty that they are copies.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows for no prediction. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        pairs: columns of ``audit.tables.PAIRS``.
        images: ``[n]`` digests of the images; they make samples independent of row order.
        supplied: whether the predictions are the user's.
    """
    noise = estimate_noise(predictions, given, images=images, supplied=supplied)
    test = self_test(predictions, given, noise, images=images)
    if test is not None:
        noise = noise._replace(bias=test.bias)
    found = _with_copies(suspect(predictions, given, noise), predictions, given, noise, disagreeing_duplicate_sets(pairs, given))
    table = pd.DataFrame(
        {
            "given": given.astype(np.int32),
            "predicted": found.predicted.astype(np.int32),
            "predicted_probability": found.top,
            "given_probability": found.own,
            "alternative": found.other.astype(np.int32),
            "alternative_probability": found.other_probability,
            "probability_wrong": found.probability,
            "probability_low": found.low,
            "probability_high": found.high,
            "score": found.score,
        }
    )
    return Judgment(table, noise, test)


def _with_copies(
    found: Suspicion, predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64], noise: Noise, sets: Iterable[list[Part]]
) -> Suspicion:
    """Replace the scores of copies by their joint ones, weighted by the certainty that they are copies."""
    jointly, certainty = np.zeros(len(given)), np.zeros(len(given))
    other, fits = found.other.copy(), found.other_probability.copy()
    for part in (part for parts in sets for part in parts):
        labels, at, votes = np.unique(given[part.rows], return_inverse=True, return_counts=True)
        posterior = _joint_posterior(_mean_prediction(predictions, part.rows), noise, labels, votes)
        jointly[part.rows] += part.weight * (1 - posterior[labels])[at]
        certainty[part.rows] += part.weight
        first, second = np.argsort(-posterior, kind="stable")[:2]
        other[part.rows] = np.where(labels == first, second, first)[at]
        fits[part.rows] = posterior[other[part.rows]]
    rows = np.flatnonzero(certainty)

    def joint(alone: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        values = alone.copy()
        values[rows] = np.clip(jointly[rows] + (1 - certainty[rows]) * np.nan_to_num(values[rows]), 0, 1)
        return values

    return found._replace(
        score=joint(found.score),
        probability=joint(found.probability),
        low=joint(found.low),
        high=joint(found.high),
        other=other,
        other_probability=fits,
    )


def _mean_prediction(predictions: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return ``[c]``: the mean over the rows that have a prediction; uniform if none has."""
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
    """Return ``[c]``: the posterior of the true class, given the labels of all copies; in logarithms, since there may be a thousand copies."""
    logits = np.log(np.maximum(prior, 1e-30)) / noise.temperature
    alone = softmax(logits[None].astype(np.float32))
    likelihood = np.maximum(noise.likelihood(labels, np.repeat(alone, len(labels), 0)), 1e-6).astype(np.float64)
    logits += VOTE_WEIGHT * (votes @ np.log(likelihood))
    posterior = np.exp(logits - logits.max())
    return np.asarray(posterior / posterior.sum(), dtype=np.float64)

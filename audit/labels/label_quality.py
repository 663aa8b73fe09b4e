"""What is known of every given label: one row per image, measured once, read by the label checks, the reports and the dashboard."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.duplicates.pictures import COPIES
from audit.labels.label_noise import TEMPER, Suspicion, estimate_noise, suspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


def label_codes(labels: pd.Series, classes: list[str]) -> npt.NDArray[np.int64]:
    """Return int64 ``[n]`` columns of labels; -1 where there is none, or one that no column knows."""
    return np.asarray(pd.Index(np.array(classes, dtype=object)).get_indexer(pd.Index(labels.astype(object))), dtype=np.int64)


def judge_labels(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64], pairs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge every given label.

    Copies of a picture with different labels are the most certain evidence there is: they are several annotations of one thing, of which all but
    one kind must be wrong. Their joint posterior (Dawid & Skene 1979, with as many annotators as copies) replaces the single one, as far as the pair
    is certain.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows where there is none. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        pairs: columns of ``audit.tables.PAIRS``.

    Returns:
        Columns of ``audit.tables.LABEL_QUALITY``.
    """
    noise = estimate_noise(predictions, given)
    found = suspect(predictions, given, noise)
    copies = disagreeing_copies(pairs, given)
    if copies:
        found = _with_copies(found, predictions, given, noise.transition**TEMPER, copies)
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


def disagreeing_copies(pairs: pd.DataFrame | None, given: npt.NDArray[np.int64]) -> dict[int, dict[int, float]]:
    """Return row -> verified copy with another label -> how certain the pair is, 0..1."""
    found: dict[int, dict[int, float]] = defaultdict(dict)
    if pairs is None or not len(pairs):
        return found
    first, second = pairs["i"].to_numpy(), pairs["j"].to_numpy()
    conflict = (given[first] >= 0) & (given[second] >= 0) & (given[first] != given[second]) & pairs["relation"].isin(COPIES).to_numpy()
    for i, j, certainty in zip(first[conflict].tolist(), second[conflict].tolist(), pairs["score"].to_numpy(float)[conflict], strict=True):
        found[i][j] = found[j][i] = float(np.clip(certainty, 0, 1))
    return found


def _with_copies(
    found: Suspicion,
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    likelihood: npt.NDArray[np.float64],
    copies: Mapping[int, Mapping[int, float]],
) -> Suspicion:
    score, probability, other = found.score.copy(), found.probability.copy(), found.other.copy()
    for row, partners in copies.items():
        members = [row, *partners]
        known = np.asarray(predictions[members], dtype=np.float64)
        known = known[np.isfinite(known[:, 0])]
        posterior = known.mean(0) if len(known) else np.full(predictions.shape[1], 1 / predictions.shape[1])
        posterior = posterior * likelihood[:, given[members]].prod(1)
        posterior /= max(posterior.sum(), 1e-30)
        certainty = max(partners.values())
        alone = probability[row] if np.isfinite(probability[row]) else 0.0
        probability[row] = np.clip(certainty * (1 - posterior[given[row]]) + (1 - certainty) * alone, 0, 1)
        posterior[given[row]] = -1
        other[row] = int(posterior.argmax())
        score[row] = np.fmax(score[row], probability[row])
    return found._replace(score=score, probability=probability, other=other)

"""Images whose label another class fits better: wrong labels, images with a second true label, images that fit nothing.

Why it matters: a wrong training label is learned, a wrong test label is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Finding, Result

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the check."""

    min_probability: float = 0.5
    """Report an image from this probability that a reviewer would call its label wrong, 0..1."""


def suspicion(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return how strongly the predictions speak against the given labels.

    Args:
        predictions: ``[n, c]`` out-of-sample probabilities.
        given: ``[n]`` columns of the given labels; -1 = none.

    Returns:
        float32 ``[n]`` in [0, 1]: 1 - the probability of the given label; NaN where there is no label or no prediction.
    """
    scores = np.full(len(given), np.nan, np.float32)
    rows = np.flatnonzero(given >= 0)
    scores[rows] = np.clip(1 - predictions[rows, given[rows]], 0, 1)
    return scores


def run(samples: pd.DataFrame, predictions: npt.NDArray[np.float32], classes: list[str], *, options: Options) -> Result:
    """Score every labelled image, and report those whose label is probably wrong."""
    column = {name: index for index, name in enumerate(classes)}
    given = samples["label"].map(column).fillna(-1).to_numpy().astype(np.int64)
    scores = suspicion(predictions, given)
    flagged = np.flatnonzero(scores >= options.min_probability)
    findings = []
    for row in flagged[np.argsort(-scores[flagged], kind="stable")].tolist():
        best = int(predictions[row].argmax())
        if best == given[row]:
            continue
        label, other = classes[given[row]], classes[best]
        findings.append(
            Finding(
                kind="wrong",
                score=float(scores[row]),
                message=f"labelled {label!r}, but looks like {other!r}",
                row=row,
                suggested_label=other,
                evidence={"probabilities": {label: float(predictions[row, given[row]]), other: float(predictions[row, best])}},
            )
        )
    return Result(scores, findings)

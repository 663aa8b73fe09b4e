"""Typical images of a class, and the likeliest classes of an image."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import AuditError

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.run.run import Run

MOST = 12
"""Typical images kept for each class."""


@lru_cache(maxsize=4096)
def typical(run: Run, label: str, predicted: str | None = None) -> tuple[int, ...]:
    """Return up to `MOST` rows of a class, the most typical first: those that are predicted as the class with the highest probability.

    Without predictions, images spread evenly over the class. An image with a finding is typical of nothing, so it comes last.

    Args:
        run: a finished run.
        label: the given label.
        predicted: images that are predicted as this class instead.
    """
    try:
        quality, classes = run.label_quality, run.classes
        given, target = classes.index(label), classes.index(predicted or label)
    except (AuditError, ValueError):
        return () if predicted else _spread(run, label)
    rows = np.flatnonzero((quality["given"].to_numpy() == given) & (quality["predicted"].to_numpy() == target))
    probability = quality["predicted_probability"].to_numpy(np.float32, na_value=0.0)[rows]
    found = rows[np.argsort(-probability, kind="stable")]
    if predicted is None:
        flagged = _flagged(run)
        found = np.concatenate([found[~np.isin(found, flagged)], found[np.isin(found, flagged)]])
    return tuple(found[:MOST].tolist())


@lru_cache(maxsize=4)
def _flagged(run: Run) -> npt.NDArray[np.int64]:
    index = run.findings_index
    return run.rows_of(index.loc[index["severity"] != "info", "sample_id"].dropna().unique().tolist())


def _spread(run: Run, label: str) -> tuple[int, ...]:
    rows = rows_of_class(run, label)
    return tuple(rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(np.int64)].tolist())


@lru_cache(maxsize=256)
def rows_of_class(run: Run, label: str) -> npt.NDArray[np.int64]:
    """Return the rows with a label, alone or among several."""
    columns = run.columns("label", "labels")
    several = np.array([label in labels if labels is not None and not isinstance(labels, float) else False for labels in columns["labels"]], bool)
    return np.flatnonzero((columns["label"] == label).to_numpy(bool, na_value=False) | several)


def likeliest(run: Run, row: int, besides: str | None, limit: int) -> list[tuple[str, float]]:
    """Return the most probable classes of an image other than one, with their out-of-sample probabilities, 0..1; empty without predictions."""
    try:
        probability = np.asarray(run.predictions[row], np.float64)
    except AuditError:
        return []
    if not np.isfinite(probability).all():
        return []
    order = np.argsort(-probability, kind="stable")
    named = [(run.classes[at], float(probability[at])) for at in order[: limit + 1]]
    return [(name, share) for name, share in named if name != besides][:limit]

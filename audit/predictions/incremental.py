"""Incremental predictions after a small change of the dataset: reused for unchanged images, from the last fitted models for new ones.

A reused prediction is still out-of-sample: its model never saw the image. A new image was seen by no model. It is predicted by the fold model that
saw none of its copies, by the mean of all folds if it has no copies, and not at all if its copies were in several folds, since every model then saw
one of them. The models learn nothing from the few new images; in return a label finding does not appear or disappear because another image changed.
Once more than `MAX_CHANGED` of the rows differ from those of the fit, all models are refitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.io.blocks import rows_at_once
from audit.predictions.predictor import Predictor

MAX_CHANGED = 0.05
"""Share of images replaced, added, removed or relabelled since the fit up to which its models are reused."""

FROM_ROWS = 5_000
"""Images from which models are reused; fewer are refitted in seconds."""

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Fitted:
    """Predictions of the last scan, and the rows they are based on."""

    probabilities: npt.NDArray[np.float32]
    """``[m, c]``, NaN rows for no prediction; may be memory-mapped."""
    fold: npt.NDArray[np.int8]
    """``[m]`` fold whose model predicted the row; -1 = all folds, or no prediction."""
    labels: npt.NDArray[np.int32]
    """``[m]`` class codes; -1 = unlabelled."""
    images: int
    """Number of rows with an embedding."""
    changed: int
    """Number of images replaced, added, removed or relabelled since the fit."""


@dataclass(frozen=True, slots=True)
class Updated:
    """Predictions without a new fit."""

    probabilities: npt.NDArray[np.float32]
    fold: npt.NDArray[np.int8]
    predicted: int
    """Number of new images that were predicted."""
    not_judged: int
    """Number of new images that every model saw a copy of."""


def count_changed(before: Fitted, old_row: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], images: int) -> int:
    """Return the number of images replaced, added, removed or relabelled since the fit.

    Args:
        before: predictions of the last scan.
        old_row: ``[n]`` row of the same content in ``before``; -1 = none.
        labels: ``[n]`` class codes, of the same classes as before.
        images: number of rows with an embedding; an unreadable image is not a change.
    """
    stayed = np.flatnonzero(old_row >= 0)
    relabelled = int((before.labels[old_row[stayed]] != labels[stayed]).sum())
    return before.changed + max(images - len(stayed), before.images - len(stayed)) + relabelled


def update(
    before: Fitted,
    predictor: Predictor,
    old_row: npt.NDArray[np.int64],
    embeddings: npt.NDArray[np.float16],
    groups: npt.NDArray[np.int64],
    into: npt.NDArray[np.float32] | None = None,
) -> Updated:
    """Reuse predictions of unchanged images, and predict new ones.

    Args:
        before: predictions of the last scan.
        predictor: the models that made them.
        old_row: ``[n]`` row of the same content in ``before``; -1 = none.
        embeddings: float16 ``[n, d]`` unit rows; NaN for none. Only new rows are read.
        groups: ``[n]`` duplicate set of each row.
        into: float32 ``[n, c]`` output array, such as a memory-mapped file; None for a new array.
    """
    stayed = np.flatnonzero(old_row >= 0)
    fold = np.full(len(old_row), -1, np.int8)
    fold[stayed] = before.fold[old_row[stayed]]
    probabilities = np.empty((len(old_row), before.probabilities.shape[1]), np.float32) if into is None else into
    at_once = min(_ROWS_AT_ONCE, rows_at_once(probabilities.shape[1]))
    for start in range(0, len(stayed), at_once):
        rows = stayed[start : start + at_once]
        probabilities[rows] = before.probabilities[old_row[rows]]
    new = np.flatnonzero(old_row < 0)
    probabilities[new] = np.nan
    new = new[np.isfinite(embeddings[new]).all(1)]
    fold[new], unseen = _folds_of_new(new, fold, groups)
    judged = new[unseen]
    for start in range(0, len(judged), at_once):
        rows = judged[start : start + at_once]
        probabilities[rows] = predictor(embeddings[rows], fold[rows])
    return Updated(probabilities, fold, len(judged), len(new) - len(judged))


def _folds_of_new(
    new: npt.NDArray[np.int64], fold: npt.NDArray[np.int8], groups: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Return the fold of each new row's copies, -1 without copies, and whether there is a model that saw none of them."""
    known = np.flatnonzero(fold >= 0)
    shared = known[np.isin(groups[known], groups[new])]
    of_group, at = np.unique(groups[shared], return_inverse=True)
    if not len(of_group):
        return np.full(len(new), -1, np.int8), np.ones(len(new), bool)
    lowest, highest = np.full(len(of_group), 127, np.int8), np.full(len(of_group), -1, np.int8)
    np.minimum.at(lowest, at, fold[shared])
    np.maximum.at(highest, at, fold[shared])
    place = np.minimum(np.searchsorted(of_group, groups[new]), len(of_group) - 1)
    one = (of_group[place] == groups[new]) & (lowest == highest)[place]
    return np.where(one, lowest[place], -1).astype(np.int8), one | (of_group[place] != groups[new])

"""Predictions after a small change of the dataset: kept for images that stay, made by the models of the last full fit for images that are new.

A kept prediction is as out-of-sample as it was: its model never saw the image. A new image no model has seen at all; it is judged by the one that saw
none of its copies. What is lost is what the models could have learned from the few new images, and in turn a label flag does not come or go because
some other image changed. Once more than `MAX_CHANGED` of the rows differ from those the models were fitted on, everything is fitted anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.labels.predictor import Predictor

MAX_CHANGED = 0.05
"""Share of images that were replaced, came, went or got another label since the fit, up to which its models are kept."""

FROM_ROWS = 5_000
"""Fewer images than these are fitted anew in seconds."""

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the last scan predicted, and from what."""

    probabilities: npt.NDArray[np.float32]
    """``[m, c]``, NaN rows where there is no prediction; may be memory-mapped."""
    fold: npt.NDArray[np.int8]
    """``[m]``, the fold whose model judged a row; -1 = all of them, or none."""
    labels: npt.NDArray[np.int32]
    """``[m]`` class codes; -1 = unlabelled."""
    images: int
    """Rows that have an embedding."""
    changed: int
    """Images that were replaced, came, went or got another label since the fit."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Predictions that needed no fit."""

    probabilities: npt.NDArray[np.float32]
    fold: npt.NDArray[np.int8]
    predicted_anew: int


def count_changed(before: Fitted, old_row: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], images: int) -> int:
    """Return how many images were replaced, came, went or got another label since the fit.

    Args:
        before: the last scan's predictions.
        old_row: ``[n]`` where a row stood in ``before``; -1 where its content was not there.
        labels: ``[n]`` class codes, of the same classes as before.
        images: rows that have an embedding; one that cannot be read is no change each time anew.
    """
    stayed = np.flatnonzero(old_row >= 0)
    relabelled = int((before.labels[old_row[stayed]] != labels[stayed]).sum())
    return before.changed + max(images - len(stayed), before.images - len(stayed)) + relabelled


def carry_over(
    before: Fitted,
    predictor: Predictor,
    old_row: npt.NDArray[np.int64],
    embeddings: npt.NDArray[np.float16],
    groups: npt.NDArray[np.int64],
    folds: int,
    into: npt.NDArray[np.float32] | None = None,
) -> Carried:
    """Keep what was predicted and predict what is new.

    Args:
        before: the last scan's predictions.
        predictor: what made them.
        old_row: ``[n]`` where a row stood in ``before``; -1 where its content was not there.
        embeddings: float16 ``[n, d]`` unit rows; NaN where there is none. Only new rows are read.
        groups: ``[n]``; copies of one picture share a number.
        folds: how many folds there were.
        into: float32 ``[n, c]`` to write to, such as a file mapped into memory; a new array where None.
    """
    stayed = np.flatnonzero(old_row >= 0)
    fold = np.full(len(old_row), -1, np.int8)
    fold[stayed] = before.fold[old_row[stayed]]
    probabilities = np.empty((len(old_row), before.probabilities.shape[1]), np.float32) if into is None else into
    for start in range(0, len(stayed), _ROWS_AT_ONCE):
        rows = stayed[start : start + _ROWS_AT_ONCE]
        probabilities[rows] = before.probabilities[old_row[rows]]
    new = np.flatnonzero(old_row < 0)
    probabilities[new] = np.nan
    new = new[np.isfinite(embeddings[new]).all(1)]
    fold[new] = _folds_of_new(new, fold, groups, folds)
    for start in range(0, len(new), _ROWS_AT_ONCE):
        rows = new[start : start + _ROWS_AT_ONCE]
        probabilities[rows] = predictor(embeddings[rows], fold[rows])
    return Carried(probabilities, fold, len(new))


def _folds_of_new(new: npt.NDArray[np.int64], fold: npt.NDArray[np.int8], groups: npt.NDArray[np.int64], folds: int) -> npt.NDArray[np.int8]:
    """Give a new row the fold of its copies; one without copies has been seen by no model, so any will do and all get their share."""
    chosen = (np.arange(len(new)) % folds).astype(np.int8)
    known = np.flatnonzero(fold >= 0)
    shared = known[np.isin(groups[known], groups[new])]
    of_group, first = np.unique(groups[shared], return_index=True)
    if len(of_group):
        place = np.minimum(np.searchsorted(of_group, groups[new]), len(of_group) - 1)
        copies = of_group[place] == groups[new]
        chosen[copies] = fold[shared[first[place[copies]]]]
    return chosen

"""Predictions after a small change of the dataset: kept for images that stay, made by the models of the last full fit for images that are new.

A kept prediction is as out-of-sample as it was: its model never saw the image. A new image no model has seen at all; it is judged by the one that saw
none of its copies, by all of them together where it has none, and not at all where its copies were in several folds: each model then saw one of them.
What is lost is what the models could have learned from the few new images, and in turn a label flag does not come or go because
some other image changed. Once more than `MAX_CHANGED` of the rows differ from those the models were fitted on, everything is fitted anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.io.blocks import rows_at_once
from audit.predictions.predictor import Predictor

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
    not_judged: int
    """New images of whose copies every model saw one."""


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
    into: npt.NDArray[np.float32] | None = None,
) -> Carried:
    """Keep what was predicted and predict what is new.

    Args:
        before: the last scan's predictions.
        predictor: what made them.
        old_row: ``[n]`` where a row stood in ``before``; -1 where its content was not there.
        embeddings: float16 ``[n, d]`` unit rows; NaN where there is none. Only new rows are read.
        groups: ``[n]``; copies of one picture share a number.
        into: float32 ``[n, c]`` to write to, such as a file mapped into memory; a new array where None.
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
    return Carried(probabilities, fold, len(judged), len(new) - len(judged))


def _folds_of_new(
    new: npt.NDArray[np.int64], fold: npt.NDArray[np.int8], groups: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Return the fold of each new row's copies, -1 where it has none, and whether there is a model that saw none of them."""
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

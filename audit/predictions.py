"""Out-of-sample class probabilities: what models that never saw an image, nor a copy of it, say of its class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.folds import stratified_group_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ROWS_AT_ONCE = 8192
_RIDGE_PENALTY = 1.0
"""Added to the diagonal of the Gram matrix of unit rows; of 1, 5 and 20 the best on human labels of CIFAR-10."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Class probabilities and how they were made."""

    probabilities: npt.NDArray[np.float32]
    """``[n, c]``; rows sum to 1, or are all NaN where there is no prediction."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: what was done."""


def out_of_sample(
    embeddings: npt.NDArray[np.float16],
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    folds: int = 5,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict every image's class with models that saw neither it nor its copies.

    Args:
        embeddings: float16 ``[n, d]`` unit rows; NaN rows for images without one. Read in blocks, so a memory map stays on disk.
        labels: int ``[n]`` class codes, 0 to c - 1; -1 = unlabelled, predicted by the models of all folds together.
        groups: int ``[n]``; rows of one duplicate group share a number and a fold.
        seed: decides the folds; same seed, same bytes.
        folds: how many; fewer are taken where there are fewer groups.
        advance: told how many more rows are predicted.

    Returns:
        float32 ``[n, c]`` with c = the highest code + 1. NaN rows: no embedding, or the row's own class has no example outside its fold.

    Raises:
        AuditError: fewer than two classes have labelled images with an embedding.
    """
    advance = advance or (lambda _: None)
    count = int(labels.max(initial=-1)) + 1
    usable = _rows_with_embedding(embeddings)
    train = usable & (labels >= 0)
    present = np.unique(labels[train])
    if len(present) < 2:
        raise AuditError("labels", f"{len(present)} class(es) have readable labelled images", "predictions need at least two classes")
    kept = min(folds, len(np.unique(groups[train])))
    if kept < 2:
        raise AuditError("labels", "all labelled images are copies of one another", "predictions need at least two different images")
    fold = np.full(len(labels), -1, np.int8)
    fold[train] = stratified_group_folds(labels[train], groups[train], folds=kept, seed=seed)

    grams, moments = _ridge_statistics(embeddings, labels, fold, kept, count)
    weights = [
        np.linalg.solve(sum(grams) - grams[k] + _RIDGE_PENALTY * np.eye(grams[k].shape[0]), sum(moments) - moments[k]).astype(np.float32)
        for k in range(kept)
    ]
    logits = np.full((len(labels), count), np.nan, np.float32)
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        rows = _with_one(embeddings[block])
        for k in range(kept):
            mine = fold[block] == k
            logits[block][mine] = rows[mine] @ weights[k]
        free = usable[block] & (fold[block] < 0)
        logits[block][free] = rows[free] @ (sum(weights) / kept)
        advance(len(rows))
    temperature = _temperature(logits[train], labels[train])
    probabilities = _softmax(logits / temperature)
    probabilities[_own_class_unseen(labels, fold, count, kept)] = np.nan
    sizes = np.bincount(fold[train], minlength=kept).tolist()
    return Predictions(probabilities, {"folds": sizes, "temperature": temperature, "members": {"ridge": 1.0}})


def _rows_with_embedding(embeddings: npt.NDArray[np.float16]) -> npt.NDArray[np.bool_]:
    usable = np.empty(len(embeddings), bool)
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        usable[start : start + _ROWS_AT_ONCE] = np.isfinite(embeddings[start : start + _ROWS_AT_ONCE]).all(1)
    return usable


def _with_one(block: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    return np.concatenate([block.astype(np.float32), np.ones((len(block), 1), np.float32)], 1)


def _ridge_statistics(
    embeddings: npt.NDArray[np.float16], labels: npt.NDArray[np.int32], fold: npt.NDArray[np.int8], folds: int, count: int
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    width = embeddings.shape[1] + 1
    grams = [np.zeros((width, width)) for _ in range(folds)]
    moments = [np.zeros((width, count)) for _ in range(folds)]
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        for k in range(folds):
            mine = fold[block] == k
            rows = _with_one(embeddings[block][mine])
            grams[k] += rows.T @ rows
            target = np.zeros((len(rows), count), np.float32)
            target[np.arange(len(rows)), labels[block][mine]] = 1
            moments[k] += rows.T @ target
    return grams, moments


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), dtype=np.float32)


def _temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
    """Find the temperature of least log loss (Guo et al. 2017, On calibration of modern neural networks)."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    def loss(log_temperature: float) -> float:
        own = _softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(own, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-6, 3), method="bounded").x))


def _own_class_unseen(labels: npt.NDArray[np.int32], fold: npt.NDArray[np.int8], count: int, folds: int) -> npt.NDArray[np.bool_]:
    """Rows whose class has no example in another fold: no model that judges them knows it."""
    held = np.zeros((count, folds), np.int64)
    judged = fold >= 0
    np.add.at(held, (labels[judged], fold[judged]), 1)
    unseen = np.zeros(len(labels), bool)
    unseen[judged] = held[labels[judged], fold[judged]] == held.sum(1)[labels[judged]]
    return unseen

"""Out-of-sample probabilities of every class for images with several labels: one-vs-rest, each class a question of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.io.artifacts import release
from audit.io.blocks import rows_at_once, some_of
from audit.predictions.folds import folds_of, numbered
from audit.predictions.out_of_sample import FOLDS, MAX_TRAINING_ROWS, Predictions, learned_features, rows_with_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

    from audit.predictions.similarity_models import Floats, Ridge, Voters

_ROWS_AT_ONCE = 4096
_CALIBRATION_CELLS = 200_000


def out_of_sample_sets(
    embeddings: npt.NDArray[np.float16],
    given: csr_array,
    groups: npt.NDArray[np.int64],
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    seed: int = 0,
    into: npt.NDArray[np.float32] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict which classes every image shows, with models that saw neither it nor its copies.

    Kernel ridge regression on each class's presence and the vote of the nearest rows of other folds, stacked by one logistic regression on
    out-of-fold cells (Platt 1999).

    Args:
        embeddings: float16 ``[n, d]`` unit rows; NaN rows for images without one. Read in blocks.
        given: bool ``[n, c]``, which labels an image carries; a row without any is unlabelled, predicted by the models of all folds together.
        groups: int ``[n]``; rows of one duplicate group share a number and a fold. An unlabelled copy of a labelled image shares its fold as well.
        images: ``[n]`` what each embedding was made from. Folds and models then follow from the images: rows in another order lead to the same
            predictions. Where None, they follow from the order of the rows.
        seed: decides folds and landmarks.
        into: float32 ``[n, c]`` to write to, such as a file mapped into memory; a new array where None.
        advance: told how many more rows are predicted.

    Returns:
        float32 ``[n, c]`` in 0..1, rows do not add up to 1; NaN rows where there is no embedding.

    Raises:
        AuditError: no labelled image has an embedding, or all of them are copies of one image.
    """
    rarest, usable = _rarest(given), rows_with_embedding(embeddings)
    order = np.arange(len(rarest)) if images is None else np.lexsort((_number_of_set(given), images))
    fold = np.empty(len(rarest), np.int8)
    fold[order] = folds_of(rarest[order], numbered(groups[order]), usable[order], FOLDS, seed)
    kept = int(fold.max()) + 1
    train = order[(usable & (rarest >= 0))[order]]
    train = train[some_of(np.arange(len(train)), MAX_TRAINING_ROWS, seed=seed)]
    features, project = learned_features(embeddings, train)
    members = _fit(features, given[train].astype(np.float32), fold[train], kept, seed)
    weights = _stack(members, features, given[train], fold[train], seed)

    probabilities = np.empty(given.shape, np.float32) if into is None else into
    probabilities[np.flatnonzero(~usable)] = np.nan
    rows, at_once = np.flatnonzero(usable), min(_ROWS_AT_ONCE, rows_at_once(given.shape[1]))
    for start in range(0, len(rows), at_once):
        block = rows[start : start + at_once]
        probabilities[block] = _sigmoid(members(project(embeddings[block]), fold[block]), weights)
        release(probabilities, embeddings)
        if advance is not None:
            advance(len(block))
    record = {
        "folds": np.bincount(fold[usable & (rarest >= 0)], minlength=kept).tolist(),
        "trained_on": len(train),
        "features": features.shape[1],
        "members": {"kernel_ridge": float(weights[0]), "neighbor_vote": float(weights[1])},
    }
    return Predictions(probabilities, record, fold)


def _rarest(given: csr_array) -> npt.NDArray[np.int32]:
    """Each row's rarest label, which is what folds must spread evenly; -1 where it has none."""
    counts = np.bincount(given.indices, minlength=given.shape[1])
    rank = np.empty(given.shape[1], np.int64)
    order = np.argsort(counts, kind="stable")
    rank[order] = np.arange(len(order))
    found = np.full(given.shape[0], -1, np.int32)
    labelled = np.flatnonzero(np.diff(given.indptr) > 0)
    if len(labelled):
        found[labelled] = order[np.minimum.reduceat(rank[given.indices], given.indptr[labelled])]
    return found


def _number_of_set(given: csr_array) -> npt.NDArray[np.int64]:
    """Return a number that only equal sets of labels share, but for chance, ``[n]``: it orders copies of one image."""
    of_class = np.random.default_rng(0).integers(2**50, size=given.shape[1])
    return np.asarray(given.astype(np.int64) @ of_class, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Members:
    """Both members."""

    ridge: Ridge
    voters: Voters

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return ``[2, m, c]``: regression outputs and shares of votes."""
        return np.stack([self.ridge(features, fold), self.voters(features, fold)])


def _fit(features: Floats, given: csr_array, fold: npt.NDArray[np.int8], folds: int, seed: int) -> _Members:
    from audit.predictions.similarity_models import Voters, fit_ridge, references, unit_rows

    chosen = references(len(features), seed)
    return _Members(fit_ridge(features, given, fold, folds, seed), Voters(unit_rows(features[chosen]), given[chosen], fold[chosen]))


def _stack(members: _Members, features: Floats, given: csr_array, fold: npt.NDArray[np.int8], seed: int) -> npt.NDArray[np.float64]:
    """Fit weights of both members and a constant on out-of-fold cells: all that are present among some rows, as many absent ones, weighed back."""
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(seed)
    rows = np.sort(draw.permutation(len(features))[: min(_ROWS_AT_ONCE, rows_at_once(given.shape[1]))])
    outputs = members(features[rows], fold[rows])
    happened = given[rows].toarray().astype(bool).ravel()
    cells = outputs.reshape(2, -1).T
    present, absent = np.flatnonzero(happened), np.flatnonzero(~happened)
    if not len(present) or not len(absent):
        return np.array([0.0, 0.0, 10.0 if len(present) else -10.0])
    some = draw.permutation(absent)[: max(_CALIBRATION_CELLS, len(present))]
    taken = np.concatenate([present, some])
    weight = np.concatenate([np.ones(len(present)), np.full(len(some), len(absent) / len(some))])
    fitted = LogisticRegression(C=1e3, max_iter=500).fit(cells[taken], happened[taken], sample_weight=weight)
    return np.concatenate([fitted.coef_[0], fitted.intercept_])


def _sigmoid(outputs: Floats, weights: npt.NDArray[np.float64]) -> Floats:
    logits = weights[0] * outputs[0] + weights[1] * outputs[1] + weights[2]
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), dtype=np.float32)

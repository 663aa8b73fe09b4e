"""Out-of-sample probabilities of every class for images with several labels: one-vs-rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.io.artifacts import release
from audit.io.blocks import rows_at_once, some_of
from audit.predictions.calibration import sigmoid
from audit.predictions.folds import folds_of, keys_of, numbered
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

    Kernel ridge regression on each class's presence and the vote of the nearest rows of other folds are stacked by one logistic regression on
    out-of-fold cells (Platt 1999).

    Args:
        embeddings: float16 ``[n, d]`` unit rows; NaN rows for images without one. Read in blocks.
        given: bool ``[n, c]`` given labels; a row without any is unlabelled and predicted by the mean of all folds.
        groups: int ``[n]`` duplicate set of each row, which shares a fold; that includes unlabelled copies of a labelled image.
        images: ``[n]`` digest of each image, which makes folds and models independent of row order; None: they depend on it.
        seed: seed of folds and landmarks.
        into: float32 ``[n, c]`` output array, such as a memory-mapped file; None for a new array.
        advance: called with the number of rows predicted since the last call.

    Returns:
        float32 ``[n, c]`` in 0..1, rows do not sum to 1; NaN rows without an embedding.

    Raises:
        AuditError: no labelled image has an embedding, or all of them are copies of one image.
    """
    rarest, usable = _rarest(given), rows_with_embedding(embeddings)
    order = np.arange(len(rarest)) if images is None else np.lexsort((_number_of_set(given), images))
    fold = np.empty(len(rarest), np.int8)
    fold[order] = folds_of(rarest[order], numbered(groups[order]), usable[order], FOLDS, seed, None if images is None else keys_of(images[order]))
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
        ridge, votes = members(project(embeddings[block]), fold[block])
        probabilities[block] = sigmoid(weights[0] * ridge + weights[1] * votes + weights[2])
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
    """Return each row's rarest label, which folds spread evenly; -1 for none."""
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
    """Return ``[n]``: a hash of each set of labels, to order copies of one image."""
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
    from audit.predictions.similarity_models import MAX_REFERENCES, Voters, fit_ridge, unit_rows

    chosen = some_of(np.arange(len(features)), MAX_REFERENCES, seed=seed)
    return _Members(fit_ridge(features, given, fold, folds, seed), Voters(unit_rows(features[chosen]), given[chosen], fold[chosen]))


def _stack(members: _Members, features: Floats, given: csr_array, fold: npt.NDArray[np.int8], seed: int) -> npt.NDArray[np.float64]:
    """Fit the weights and intercept on out-of-fold cells of a sample of rows: all positive ones and a reweighted sample of negative ones."""
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

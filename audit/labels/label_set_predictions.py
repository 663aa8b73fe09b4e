"""Out-of-sample probabilities of every class for images with several labels: one-vs-rest, each class a question of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.labels.folds import stratified_group_folds
from audit.labels.predictions import FEATURES, MAX_TRAINING_ROWS, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

    from audit.labels.probes import Floats, Projection

_ROWS_AT_ONCE = 4096
_CALIBRATION_CELLS = 200_000


def out_of_sample_sets(
    embeddings: npt.NDArray[np.float16],
    given: csr_array,
    groups: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    folds: int = 5,
    into: npt.NDArray[np.float32] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict which classes every image shows, with models that saw neither it nor its copies.

    Kernel ridge regression on each class's presence and the vote of the nearest rows of other folds, stacked by one logistic regression on
    out-of-fold cells (Platt 1999).

    Args:
        embeddings: float16 ``[n, d]`` unit rows; NaN rows for images without one. Read in blocks.
        given: bool ``[n, c]``, which labels an image carries; a row without any is unlabelled.
        groups: int ``[n]``; rows of one duplicate group share a number and a fold.
        seed: decides folds and landmarks.
        folds: how many; fewer are taken where there are fewer groups.
        into: float32 ``[n, c]`` to write to, such as a file mapped into memory; a new array where None.
        advance: told how many more rows are predicted.

    Returns:
        float32 ``[n, c]`` in 0..1, rows do not add up to 1; NaN rows where there is no embedding.

    Raises:
        AuditError: fewer than two different labelled pictures have an embedding.
    """
    from audit.labels.probes import fit_projection

    labelled = np.diff(given.indptr) > 0
    usable = _with_embedding(embeddings)
    train = np.flatnonzero(usable & labelled)
    kept = min(folds, len(np.unique(groups[train])))
    if kept < 2:
        raise AuditError("labels", "fewer than two different labelled pictures could be read", "predictions need at least two")
    fold = np.full(len(labelled), -1, np.int8)
    fold[train] = stratified_group_folds(_rarest(given)[train], groups[train], folds=kept, seed=seed)
    if len(train) > MAX_TRAINING_ROWS:
        train = np.sort(np.random.default_rng(seed).permutation(train)[:MAX_TRAINING_ROWS])
    learned = np.concatenate([embeddings[train[start : start + _ROWS_AT_ONCE]] for start in range(0, len(train), _ROWS_AT_ONCE)])
    project = fit_projection(learned, FEATURES)
    features = _projected(project, learned)
    members = _Members(features, given[train].astype(np.float32), fold[train], kept, seed)
    weights = _stack(members, features, given[train], fold[train], seed)

    probabilities = np.empty(given.shape, np.float32) if into is None else into
    probabilities[np.flatnonzero(~usable)] = np.nan
    rows = np.flatnonzero(usable)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE]
        probabilities[block] = _sigmoid(members(_projected(project, embeddings[block]), fold[block]), weights)
        if advance is not None:
            advance(len(block))
    record = {
        "folds": np.bincount(fold[fold >= 0], minlength=kept).tolist(),
        "trained_on": len(train),
        "features": features.shape[1],
        "members": {"kernel_ridge": float(weights[0]), "neighbor_vote": float(weights[1])},
    }
    return Predictions(probabilities, record, fold)


def _with_embedding(embeddings: npt.NDArray[np.float16]) -> npt.NDArray[np.bool_]:
    parts = [np.isfinite(embeddings[start : start + _ROWS_AT_ONCE]).all(1) for start in range(0, len(embeddings), _ROWS_AT_ONCE)]
    return np.concatenate([np.empty(0, bool), *parts])


def _projected(project: Projection, rows: npt.NDArray[np.float16]) -> Floats:
    return np.concatenate([project(rows[start : start + _ROWS_AT_ONCE]) for start in range(0, len(rows), _ROWS_AT_ONCE)])


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


class _Members:
    """Both members' outputs, ``[2, m, c]``: regression values and shares of votes."""

    def __init__(self, features: Floats, given: csr_array, fold: npt.NDArray[np.int8], folds: int, seed: int) -> None:
        from scipy.linalg import cho_factor, cho_solve

        from audit.labels.probes import KERNEL_PENALTY, LANDMARKS, MAX_REFERENCES, kernel, unit_rows

        unit = unit_rows(features)
        order = np.random.default_rng(seed).permutation(len(unit))
        self.landmarks = unit[np.sort(order[:LANDMARKS])]
        grams, moments = [], []
        for k in range(folds):
            gram = np.zeros((len(self.landmarks) + 1,) * 2, np.float32)
            moment = np.zeros((len(gram), given.shape[1]), np.float32)
            mine = np.flatnonzero(fold == k)
            for start in range(0, len(mine), _ROWS_AT_ONCE):
                part = mine[start : start + _ROWS_AT_ONCE]
                rows = kernel(unit[part], self.landmarks)
                gram += rows.T @ rows
                moment += (given[part].T @ rows).T
            grams.append(gram)
            moments.append(moment)
        weights = []
        for k in range(folds):
            left = (sum(grams) - grams[k]).astype(np.float64)
            left[np.diag_indices_from(left)] += KERNEL_PENALTY * np.trace(left) / len(left)
            weights.append(cho_solve(cho_factor(left, overwrite_a=True, check_finite=False), sum(moments) - moments[k], check_finite=False))
        self.weights = np.stack(weights).astype(np.float32)
        chosen = np.sort(order[:MAX_REFERENCES])
        self.references, self.given, self.fold = unit[chosen], given[chosen], fold[chosen]

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        import faiss
        from scipy.sparse import csr_array

        from audit.labels.probes import VOTE_TEMPERATURE, VOTERS, kernel, unit_rows

        unit = unit_rows(features)
        rows = kernel(unit, self.landmarks)
        out = np.empty((2, len(unit), self.weights.shape[2]), np.float32)
        for k in np.unique(fold):
            mine, other = np.flatnonzero(fold == k), np.flatnonzero(self.fold != k)
            out[0, mine] = rows[mine] @ (self.weights[k] if k >= 0 else self.weights.mean(0))
            similarity, index = faiss.knn(unit[mine], self.references[other], min(VOTERS, len(other)), metric=faiss.METRIC_INNER_PRODUCT)
            weight = np.exp((similarity - 1) / VOTE_TEMPERATURE)
            weight /= weight.sum(1, keepdims=True)
            starts = np.arange(0, index.size + 1, index.shape[1])
            votes = csr_array((weight.ravel(), other[index.ravel()], starts), shape=(len(mine), len(self.fold)))
            out[1, mine] = (votes @ self.given).toarray()
        return out


def _stack(members: _Members, features: Floats, given: csr_array, fold: npt.NDArray[np.int8], seed: int) -> npt.NDArray[np.float64]:
    """Fit weights of both members and a constant on out-of-fold cells: all that are present among some rows, as many absent ones, weighed back."""
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(seed)
    rows = np.sort(draw.permutation(len(features))[:_ROWS_AT_ONCE])
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

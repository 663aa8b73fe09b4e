"""Models that stand on how alike features are, for one label per image or several: kernel ridge regression, and a vote of neighbors.

One model per fold, fitted together. A row with fold *f* is judged by the one that never saw fold *f*, a row with fold -1 by all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import faiss
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = npt.NDArray[np.float32]

LANDMARKS = 2000
"""Of the kernel member: its cost grows with the cube."""
BANDWIDTH = 0.5
"""Of the kernel exp(-b * squared distance) between unit rows; 0.25 and 0.5 were tried."""
KERNEL_PENALTY = 1e-4
"""Share of the mean diagonal of the Gram matrix."""
VOTERS = 50
"""Neighbors that vote; 10, 20 and 50 were tried, more was better on noisy labels."""
VOTE_TEMPERATURE = 0.1
"""A neighbor's weight is exp(cosine / this)."""
FADES_WITHIN = 1e-3
"""Neighbors whose cosine is nearer than this to that of the first who has no vote fade out: of copies with two labels, rounding would choose one."""
MAX_REFERENCES = 50_000
"""Rows a neighbor is looked for among."""

_ROWS_AT_ONCE = 4096


def one_hot(labels: npt.NDArray[np.int64], classes: int) -> csr_array:
    """Return which class each row is of, float32 ``[m, c]``."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(labels), np.float32), labels, np.arange(len(labels) + 1)), shape=(len(labels), classes))


def unit_rows(rows: Floats) -> Floats:
    """Scale rows to length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def kernel(rows: Floats, landmarks: Floats) -> Floats:
    """Return Gaussian similarities of unit rows to landmarks, and a column of ones: float32 ``[m, l + 1]``."""
    similar = rows @ landmarks.T
    similar -= 1
    similar *= 2 * BANDWIDTH
    np.exp(similar, out=similar)
    return np.concatenate([similar, np.ones((len(rows), 1), np.float32)], 1)


@dataclass(frozen=True, slots=True)
class Ridge:
    """Every fold's ridge regression on similarities to landmarks."""

    landmarks: Floats
    """``[l, k]`` unit rows."""
    weights: Floats
    """``[folds, l + 1, c]``."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return float32 ``[m, c]`` regression outputs of each row's own fold; of the folds' mean where it has none."""
        rows = kernel(unit_rows(features), self.landmarks)
        out = np.empty((len(features), self.weights.shape[2]), np.float32)
        for k in np.unique(fold):
            out[fold == k] = rows[fold == k] @ (self.weights[k] if k >= 0 else self.weights.mean(0))
        return out


def fit_ridge(features: Floats, carried: csr_array, fold: npt.NDArray[np.int8], folds: int, seed: int) -> Ridge:
    """Fit closed-form ridge regression on similarities to random landmarks (Nyström features of a Gaussian kernel).

    Args:
        features: ``[m, k]``.
        carried: float32 ``[m, c]``, 1 for each class that a row carries; sparse, since classes are many and a row has few.
        fold: ``[m]`` in ``[0, folds)``.
        folds: how many.
        seed: decides the landmarks.
    """
    from scipy.linalg import cho_factor, cho_solve

    unit = unit_rows(features)
    landmarks = unit[np.sort(np.random.default_rng(seed).permutation(len(unit))[:LANDMARKS])]
    grams = np.zeros((folds, len(landmarks) + 1, len(landmarks) + 1), np.float32)
    moments = np.zeros((folds, len(landmarks) + 1, carried.shape[1]), np.float32)
    for k in range(folds):
        mine = np.flatnonzero(fold == k)
        for start in range(0, len(mine), _ROWS_AT_ONCE):
            part = mine[start : start + _ROWS_AT_ONCE]
            rows = kernel(unit[part], landmarks)
            grams[k] += rows.T @ rows
            moments[k] += (carried[part].T @ rows).T
    gram, moment = grams.sum(0), moments.sum(0)
    for k in range(folds):
        kept = (gram - grams[k]).astype(np.float64)
        kept[np.diag_indices_from(kept)] += KERNEL_PENALTY * np.trace(kept) / len(kept)
        factor = cho_factor(kept, overwrite_a=True, check_finite=False)
        moments[k] = cho_solve(factor, moment - moments[k], check_finite=False)
    return Ridge(landmarks, moments)


@dataclass(frozen=True, slots=True)
class Voters:
    """Labelled rows whose nearest vote."""

    references: Floats
    """``[r, k]`` unit rows."""
    carried: csr_array
    """``[r, c]``, 1 for each class that a row carries."""
    fold: npt.NDArray[np.int8]
    """``[r]``."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return float32 ``[m, c]`` the share of the votes that each class gets from the nearest rows of other folds, the nearer the more."""
        from scipy.sparse import csr_array

        out = np.empty((len(features), self.carried.shape[1]), np.float32)
        rows = unit_rows(features)
        for k in np.unique(fold):
            mine, other = np.flatnonzero(fold == k), np.flatnonzero(self.fold != k)
            similarity, index = faiss.knn(rows[mine], self.references[other], min(VOTERS + 1, len(other)), metric=faiss.METRIC_INNER_PRODUCT)
            weight = np.exp((similarity - 1) / VOTE_TEMPERATURE)
            if len(other) > VOTERS:
                weight *= np.clip((similarity - similarity[:, -1:]) / FADES_WITHIN, 1e-3, 1)
            weight /= weight.sum(1, keepdims=True)
            starts = np.arange(len(mine) + 1) * index.shape[1]
            votes = csr_array((weight.ravel(), other[index.ravel()], starts), shape=(len(mine), len(self.fold)))
            out[mine] = (votes @ self.carried).toarray()
        return out


def references(rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose the rows that may vote."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_REFERENCES])

"""Models based on similarity of features, for one label per image or several: kernel ridge regression, and a neighbor vote.

One model per fold, fitted together. A row with fold *f* is predicted by the model that never saw fold *f*, a row with fold -1 by all of them.
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
"""Landmarks of the kernel; the cost grows with their cube."""
BANDWIDTH = 0.5
"""b of the kernel exp(-b * squared distance) between unit rows; 0.25 and 0.5 were tried."""
KERNEL_PENALTY = 1e-4
"""Ridge penalty as a share of the mean diagonal of the Gram matrix."""
VOTERS = 50
"""Neighbors that vote; 10, 20 and 50 were tried, more was better on noisy labels."""
VOTE_TEMPERATURE = 0.1
"""A neighbor's weight is exp(cosine / this)."""
FADES_WITHIN = 1e-3
"""Weights fade out within this cosine of the first neighbor without a vote: otherwise rounding would choose among copies with different labels."""
MAX_REFERENCES = 50_000
"""Rows among which neighbors are searched."""

_ROWS_AT_ONCE = 4096


def one_hot(labels: npt.NDArray[np.int64], classes: int) -> csr_array:
    """Return one-hot labels, sparse float32 ``[m, c]``."""
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
        """Return float32 ``[m, c]``: regression outputs of each row's fold; of the mean of all folds for fold -1."""
        rows = kernel(unit_rows(features), self.landmarks)
        out = np.empty((len(features), self.weights.shape[2]), np.float32)
        for k in np.unique(fold):
            out[fold == k] = rows[fold == k] @ (self.weights[k] if k >= 0 else self.weights.mean(0))
        return out


def fit_ridge(features: Floats, given: csr_array, fold: npt.NDArray[np.int8], folds: int, seed: int) -> Ridge:
    """Fit closed-form ridge regression on similarities to random landmarks (Nyström features of a Gaussian kernel).

    Args:
        features: ``[m, k]``.
        given: sparse float32 ``[m, c]``, 1 for each given label.
        fold: ``[m]`` in ``[0, folds)``.
        folds: number of folds.
        seed: seed of the landmarks.
    """
    from scipy.linalg import cho_factor, cho_solve

    unit = unit_rows(features)
    landmarks = unit[np.sort(np.random.default_rng(seed).permutation(len(unit))[:LANDMARKS])]
    grams = np.zeros((folds, len(landmarks) + 1, len(landmarks) + 1), np.float32)
    moments = np.zeros((folds, len(landmarks) + 1, given.shape[1]), np.float32)
    for k in range(folds):
        mine = np.flatnonzero(fold == k)
        for start in range(0, len(mine), _ROWS_AT_ONCE):
            part = mine[start : start + _ROWS_AT_ONCE]
            rows = kernel(unit[part], landmarks)
            grams[k] += rows.T @ rows
            moments[k] += (given[part].T @ rows).T
    gram, moment = grams.sum(0), moments.sum(0)
    for k in range(folds):
        kept = (gram - grams[k]).astype(np.float64)
        kept[np.diag_indices_from(kept)] += KERNEL_PENALTY * np.trace(kept) / len(kept)
        factor = cho_factor(kept, overwrite_a=True, check_finite=False)
        moments[k] = cho_solve(factor, moment - moments[k], check_finite=False)
    return Ridge(landmarks, moments)


@dataclass(frozen=True, slots=True)
class Voters:
    """Labelled rows, of which the nearest vote."""

    references: Floats
    """``[r, k]`` unit rows."""
    given: csr_array
    """``[r, c]``, 1 for each given label."""
    fold: npt.NDArray[np.int8]
    """``[r]``."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return float32 ``[m, c]``: each class's share of the votes of the nearest rows of other folds, weighted by similarity."""
        from scipy.sparse import csr_array

        out = np.empty((len(features), self.given.shape[1]), np.float32)
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
            out[mine] = (votes @ self.given).toarray()
        return out

"""Drift of the embeddings between two versions of a dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Drift:
    """Distance between two sets of embeddings."""

    shift: float
    """Distance of the two means in units of the old set's spread, minus the distance expected by chance at these sizes; 0 = none."""
    old_images: int
    new_images: int


def embedding_drift(
    old: npt.NDArray[np.float16],
    new: npt.NDArray[np.float16],
    old_rows: npt.NDArray[np.int64] | None = None,
    new_rows: npt.NDArray[np.int64] | None = None,
) -> Drift | None:
    """Measure the shift of the mean embedding.

    With means m, the old set's spread s (root mean square distance from its mean) and sizes a and b, two draws from one distribution have
    E |m_old - m_new|^2 = s^2 (1/a + 1/b), which is subtracted: ``shift = sqrt(max(0, |m_old - m_new|^2 / s^2 - 1/a - 1/b))``. Versions that share
    images differ by less than independent draws, so this underestimates the shift.

    Args:
        old: float16 ``[n, d]`` unit rows; NaN rows are ignored.
        new: float16 ``[m, d]``.
        old_rows: use only these rows.
        new_rows: use only these rows.

    Returns:
        None if a version has fewer than two embeddings.
    """
    mean_old, square_old, count_old = _moments(old, old_rows)
    mean_new, _, count_new = _moments(new, new_rows)
    if min(count_old, count_new) < 2:
        return None
    distance = float(((mean_old - mean_new) ** 2).sum())
    variance = (square_old - float((mean_old**2).sum())) * count_old / (count_old - 1)
    if variance <= 1e-9:  # copies of one image have no spread
        return Drift(0.0 if distance <= 1e-6 else math.inf, count_old, count_new)
    return Drift(math.sqrt(max(0.0, distance / variance - 1 / count_old - 1 / count_new)), count_old, count_new)


def _moments(embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64] | None) -> tuple[npt.NDArray[np.float64], float, int]:
    """Return the mean, the mean squared norm and the number of rows with an embedding; read in blocks."""
    total, squares, count = np.zeros(embeddings.shape[1]), 0.0, 0
    length = len(embeddings) if rows is None else len(rows)
    for start in range(0, length, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        block = np.asarray(embeddings[part] if rows is None else embeddings[rows[part]], np.float32)
        block = block[np.isfinite(block[:, 0])]
        total += block.sum(axis=0, dtype=np.float64)
        squares += float(np.square(block).sum(dtype=np.float64))
        count += len(block)
    return total / max(count, 1), squares / max(count, 1), count

"""Split large tables into blocks, and draw random subsets of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

CELLS_AT_ONCE = 8_000_000
"""Cells per block, 32 MB of float32: 8,000 rows of 1,000 classes, or 360 rows of 22,000."""


def rows_at_once(classes: int) -> int:
    """Return the number of rows per block for this number of classes; at least one."""
    return max(1, CELLS_AT_ONCE // max(classes, 1))


def blocks(rows: npt.NDArray[np.int64], classes: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows in order, `rows_at_once` at a time."""
    step = rows_at_once(classes)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def some_of(rows: npt.NDArray[np.int64], most: int, images: npt.NDArray[np.bytes_] | None = None, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return a random subset of the rows, in order. Evenly spaced rows would be biased, because a listing may alternate its classes.

    Args:
        rows: row numbers.
        most: maximum number of rows to return.
        images: ``[n]`` content digests. If given, they determine the subset, so that it does not depend on the rows' order.
        seed: random seed, used without ``images``.
    """
    if len(rows) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows)) if images is None else np.argsort(images[rows], kind="stable")
    return rows[np.sort(order[:most])]

"""Tables of many rows and many classes: which rows are read together, and which are enough to learn from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

CELLS_AT_ONCE = 8_000_000
"""Of a block, 32 MB of float32: 8,000 rows of 1,000 classes, 360 of 22,000."""


def rows_at_once(classes: int) -> int:
    """Return how many rows of so many classes make a block; at least one."""
    return max(1, CELLS_AT_ONCE // max(classes, 1))


def blocks(rows: npt.NDArray[np.int64], classes: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield rows in their order, `rows_at_once` at a time."""
    step = rows_at_once(classes)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def some_of(rows: npt.NDArray[np.int64], most: int, images: npt.NDArray[np.bytes_] | None = None, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Choose at most so many rows by lot, and keep their order. Evenly spaced rows would not do: a listing may deal its classes in turn.

    Args:
        rows: row numbers.
        most: how many are enough.
        images: ``[n]`` digests of what each row shows. They are the lot where they are given, so that the rows' order decides nothing.
        seed: is the lot where they are not.
    """
    if len(rows) <= most:
        return rows
    lot = np.random.default_rng(seed).permutation(len(rows)) if images is None else np.argsort(images[rows], kind="stable")
    return rows[np.sort(lot[:most])]

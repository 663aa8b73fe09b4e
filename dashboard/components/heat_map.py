"""A confusion matrix in parts that fit on a screen: blocks of classes, and the classes of one block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

BLOCK = 40
"""Classes per side of a block; a thousand classes are 25 x 25 blocks."""


def order_of_classes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the classes ordered by average-linkage clustering, so that confused classes are adjacent.

    Args:
        counts: int64 ``[c, c]``, given class by predicted class.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    share = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    return np.asarray(leaves_list(linkage(squareform(distance, checks=False), "average")), np.int64)


def blocks(counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64], names: list[str]) -> pd.DataFrame:
    """Return the confused images of each pair of blocks: ``given_block, predicted_block, given, predicted, confused``.

    Args:
        counts: int64 ``[c, c]``.
        order: as `order_of_classes` returns it.
        names: class names in that order.
    """
    starts = np.arange(0, len(order), BLOCK)
    wrong = _confused(counts, order)
    summed = np.add.reduceat(np.add.reduceat(wrong, starts, axis=0), starts, axis=1)
    spans = [f"{names[start]} … {names[min(int(start) + BLOCK, len(order)) - 1]}" for start in starts]
    given, predicted = np.divmod(np.arange(summed.size), len(starts))
    return pd.DataFrame(
        {
            "given_block": given,
            "predicted_block": predicted,
            "given": [spans[block] for block in given],
            "predicted": [spans[block] for block in predicted],
            "confused": summed.ravel(),
        }
    )


def window(counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64], names: list[str], given: int, predicted: int, side: int) -> pd.DataFrame:
    """Return the cells of one block: ``given, predicted``, their class indices ``given_at, predicted_at``, ``confused`` and ``share``.

    A share is relative to the images of the given class.

    Args:
        counts: int64 ``[c, c]``.
        order: as `order_of_classes` returns it.
        names: class names in that order.
        given: index of the block of rows.
        predicted: index of the block of columns.
        side: classes per side of a block.
    """
    rows, columns = slice(given * side, (given + 1) * side), slice(predicted * side, (predicted + 1) * side)
    wrong = _confused(counts, order)[rows, columns]
    total = np.maximum(counts.sum(axis=1)[order][rows], 1)
    first, second = np.divmod(np.arange(wrong.size), max(wrong.shape[1], 1))
    of_rows, of_columns = names[rows], names[columns]
    return pd.DataFrame(
        {
            "given": [of_rows[at] for at in first],
            "predicted": [of_columns[at] for at in second],
            "given_at": order[rows][first],
            "predicted_at": order[columns][second],
            "confused": wrong.ravel(),
            "share": (wrong / total[:, None]).ravel(),
        }
    )


def _confused(counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    wrong = counts[np.ix_(order, order)].copy()
    np.fill_diagonal(wrong, 0)
    return wrong

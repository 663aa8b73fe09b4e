"""A confusion matrix cut into what a screen can show: blocks of classes, and the classes of one block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

BLOCK = 40
"""Classes along a side that can be read at once; a thousand classes are 25 x 25 blocks."""


def order_of_classes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the classes in an order that puts those confused with each other side by side: leaves of average-linkage clustering.

    Args:
        counts: int64 ``[c, c]``, given by predicted.
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
    """Return how many images each block of classes gives away to each other one: ``given_block, predicted_block, given, predicted, confused``.

    Args:
        counts: int64 ``[c, c]``.
        order: as `order_of_classes` returns it.
        names: of the classes, in that order.
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
            "given": [spans[place] for place in given],
            "predicted": [spans[place] for place in predicted],
            "confused": summed.ravel(),
        }
    )


def window(counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64], names: list[str], given: int, predicted: int, side: int) -> pd.DataFrame:
    """Return the classes of one block: ``given, predicted``, their places ``given_at, predicted_at``, ``confused`` and its ``share``.

    Shares are of the given class's images.

    Args:
        counts: int64 ``[c, c]``.
        order: as `order_of_classes` returns it.
        names: of the classes, in that order.
        given: number of the block of rows.
        predicted: number of the block of columns.
        side: classes along a side.
    """
    rows, columns = slice(given * side, (given + 1) * side), slice(predicted * side, (predicted + 1) * side)
    wrong = _confused(counts, order)[rows, columns]
    total = np.maximum(counts.sum(axis=1)[order][rows], 1)
    first, second = np.divmod(np.arange(wrong.size), max(wrong.shape[1], 1))
    of_rows, of_columns = names[rows], names[columns]
    return pd.DataFrame(
        {
            "given": [of_rows[place] for place in first],
            "predicted": [of_columns[place] for place in second],
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

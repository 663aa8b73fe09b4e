"""Groups of pairs without chains: every member was verified against the group's representative."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def group(first: Rows, second: Rows, area: npt.NDArray[np.float64], content: npt.NDArray[np.object_]) -> npt.NDArray[np.int32]:
    """Return each pair's group: the row of its representative, or -1 if its images are in different groups.

    The representative is the image with most matches, then the one with most pixels.

    Args:
        first: ``[m]`` rows.
        second: ``[m]`` rows.
        area: ``[n]`` pixels of each image.
        content: ``[n]`` content ids, which break ties independently of row order.
    """
    rows, at = np.unique(np.concatenate([first, second]), return_inverse=True)
    count = len(first)
    degree = np.bincount(at, minlength=len(rows))
    others = np.concatenate([at[count:], at[:count]])[np.argsort(at, kind="stable")].tolist()
    ends = np.cumsum(degree).tolist()
    rank = np.empty(len(rows), np.int64)
    _, rank[:] = np.unique(content[rows].astype(str), return_inverse=True)
    leader = np.full(len(rows), -1, np.int64)
    order = np.lexsort((rows, rank, -area[rows], -degree))
    led = [-1] * len(rows)
    for one in order.tolist():
        if led[one] < 0:
            free = [other for other in others[ends[one - 1] if one else 0 : ends[one]] if led[other] < 0]
            if free:
                for other in (one, *free):
                    led[other] = one
    leader[:] = led
    mine, theirs = leader[at[:count]], leader[at[count:]]
    return np.where((mine == theirs) & (mine >= 0), rows[mine] if len(rows) else -1, -1).astype(np.int32)

"""Duplicate sets: images that are copies of each other, which checks count once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import numpy.typing as npt

IDENTICAL = frozenset({"identical_bytes", "identical_pixels"})
"""Relations of images with the same pixels."""

COPIES = frozenset({"identical_bytes", "identical_pixels", "re_encoded", "edited_copy"})
"""Relations of copies; another shot of the same thing is not a copy."""


def duplicate_sets(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]``: the duplicate set of each row; other shots of a scene are in other sets."""
    return connected_sets(pairs[pairs["relation"].isin(COPIES)], n)


def identical_sets(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]``: the set of images with the same pixels of each row."""
    return connected_sets(pairs[pairs["relation"].isin(IDENTICAL)], n)


def implied_by_identical_copies(pairs: pd.DataFrame, splits: npt.NDArray[np.int64], rank: npt.NDArray[np.integer]) -> pd.DataFrame:
    """Return the pairs that follow from identity: identical copies match each other, and whatever one of them matches.

    The search compares only one image of each identical set. The implied pairs grow with the square of the set, so each image is joined only to the
    first image of the other side in every split.

    Args:
        pairs: columns of ``audit.tables.PAIRS``.
        splits: int ``[n]`` code of each image's split; -1 = none, excluded.
        rank: ``[n]`` distinct; the image with the lowest rank is the first.

    Returns:
        Columns ``i``, ``j``, ``relation``, ``score`` and ``group`` of the pairs that are not in the table, each once with its most certain relation.
    """
    sets = identical_sets(pairs, len(splits))
    several = np.bincount(sets, minlength=1)[sets] > 1
    rows = np.flatnonzero(splits >= 0)
    members = pd.DataFrame({"set": sets[rows], "split": splits[rows], "row": rows, "rank": rank[rows]})
    first = members.sort_values("rank").drop_duplicates(["set", "split"]).rename(columns={"row": "partner", "set": "other"})[["other", "partner"]]
    columns = ["relation", "score", "group"]
    links = pairs.loc[several[pairs["i"]] | several[pairs["j"]], ["i", "j", *columns]]
    sides = [links[columns].assign(set=sets[links[a]], other=sets[links[b]]) for a, b in (("i", "j"), ("j", "i"))]
    found = pd.concat(sides).drop_duplicates(["set", "other", "relation", "score"]).merge(members, on="set").merge(first, on="other")
    one, other = found["row"].to_numpy(), found["partner"].to_numpy()
    found = found.assign(i=np.minimum(one, other), j=np.maximum(one, other))
    # Two images with the bytes of a third need not have each other's bytes: one link may be by pixels.
    found["relation"] = found["relation"].where(~found["relation"].isin(IDENTICAL), "identical_pixels")
    found = found[found["i"] != found["j"]].sort_values(["i", "j", "score", "group"], ascending=[True, True, False, True]).drop_duplicates(["i", "j"])
    known = pd.MultiIndex.from_frame(pairs[["i", "j"]])
    return found.loc[~pd.MultiIndex.from_frame(found[["i", "j"]]).isin(known), ["i", "j", *columns]].reset_index(drop=True)


def connected_sets(pairs: pd.DataFrame, n: int, groups: pd.Series | None = None) -> npt.NDArray[np.int64]:
    """Return ``[n]``: the set of each row; rows that pairs or groups connect, directly or through others, share one.

    Args:
        pairs: columns ``i`` and ``j``.
        n: rows of the run.
        groups: ``[n]`` group of each row, null for none; None if the dataset has no groups.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = pairs["i"].to_numpy(), pairs["j"].to_numpy()
    if groups is not None:
        codes, _ = pd.factorize(groups)
        rows = np.flatnonzero(codes >= 0)
        _, first, group = np.unique(codes[rows], return_index=True, return_inverse=True)
        one, other = np.concatenate([one, rows]), np.concatenate([other, rows[first][group]])
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)

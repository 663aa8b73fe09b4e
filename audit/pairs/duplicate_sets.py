"""Which images are copies of one picture, so that checks count it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import numpy.typing as npt

IDENTICAL = frozenset({"identical_bytes", "identical_pixels"})
"""Relations of what decodes to the same pixels."""

COPIES = frozenset({"identical_bytes", "identical_pixels", "re_encoded", "edited_copy"})
"""Relations of one picture to itself; another shot of the same scene is a picture of its own."""


def duplicate_sets(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]`` a number per row that copies of one picture share; other shots of a scene are pictures of their own."""
    return _joined(pairs[pairs["relation"].isin(COPIES)], n)


def identical_sets(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]`` a number per row that images of the same pixels share."""
    return _joined(pairs[pairs["relation"].isin(IDENTICAL)], n)


def implied_by_identical_copies(pairs: pd.DataFrame, splits: npt.NDArray[np.int64], rank: npt.NDArray[np.integer]) -> pd.DataFrame:
    """Return the pairs that follow from images being identical: what one of them matches the others match as well, and they match each other.

    Pairs are looked for between one image of each kind only. All that follow from them grow with the square of the copies, so each image is joined to
    the first of the other side in every split.

    Args:
        pairs: columns of ``audit.tables.PAIRS``.
        splits: int ``[n]``; -1 = in none, neither joined nor joined to.
        rank: ``[n]`` distinct; the image of the lowest is the first.

    Returns:
        Columns ``i``, ``j``, ``relation``, ``score`` and ``group`` of the pairs that are not in the table, each once, the most certain of several.
    """
    twins = identical_sets(pairs, len(splits))
    several = np.bincount(twins, minlength=1)[twins] > 1
    rows = np.flatnonzero(splits >= 0)
    members = pd.DataFrame({"twin": twins[rows], "split": splits[rows], "row": rows, "rank": rank[rows]})
    first = members.sort_values("rank").drop_duplicates(["twin", "split"]).rename(columns={"row": "partner", "twin": "other"})[["other", "partner"]]
    told = ["relation", "score", "group"]
    links = pairs.loc[several[pairs["i"]] | several[pairs["j"]], ["i", "j", *told]]
    sides = [links[told].assign(twin=twins[links[a]], other=twins[links[b]]) for a, b in (("i", "j"), ("j", "i"))]
    found = pd.concat(sides).drop_duplicates(["twin", "other", "relation", "score"]).merge(members, on="twin").merge(first, on="other")
    one, other = found["row"].to_numpy(), found["partner"].to_numpy()
    found = found.assign(i=np.minimum(one, other), j=np.maximum(one, other))
    # Copies need not have the same bytes, whichever relation joins each to a third.
    found["relation"] = found["relation"].where(~found["relation"].isin(IDENTICAL), "identical_pixels")
    found = found[found["i"] != found["j"]].sort_values(["i", "j", "score", "group"], ascending=[True, True, False, True]).drop_duplicates(["i", "j"])
    known = pd.MultiIndex.from_frame(pairs[["i", "j"]])
    return found.loc[~pd.MultiIndex.from_frame(found[["i", "j"]]).isin(known), ["i", "j", *told]].reset_index(drop=True)


def _joined(copies: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(copies), bool), (copies["i"].to_numpy(), copies["j"].to_numpy())), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)

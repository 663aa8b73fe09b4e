"""Copies of the same image: identical bytes, or different files that decode to identical pixels.

Why it matters: a copy counts twice in every average, and easily ends up in another split than its original. One image of each group of copies, the
representative, is kept; every other one is a finding.

Blind spots: none for exact copies. A copy that differs in a single pixel is for ``near_duplicates``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

KINDS = ("identical_bytes", "identical_pixels")
FAMILY: Family = "duplicates"
EVIDENCE = {"partner": Evidence("Compared with"), "relation": Evidence("Relation", "name")}

_SCORE = {"identical_bytes": 1.0, "identical_pixels": 0.99}
_MESSAGE = {
    "identical_bytes": "Same file as {partner}. Keep one of the two.",
    "identical_pixels": "Same pixels as {partner}, although the files differ. Keep one of the two.",
}


def copy_scores(n: int, members: npt.NDArray[np.int64], relations: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    """Return the certainty that each sample is a copy.

    Args:
        n: number of samples.
        members: ``[m]`` rows that are copies of their group's representative.
        relations: ``[m]`` the relation of each.

    Returns:
        ``[n]``: 1 for identical bytes, 0.99 for identical pixels, 0 for images to keep.
    """
    scores = np.zeros(n, np.float32)
    np.maximum.at(scores, members, np.array([_SCORE[relation] for relation in relations], np.float32))
    return scores


def run(samples: pd.DataFrame, pairs: pd.DataFrame) -> Result:
    """Report every copy with its group's representative; failed images have no score."""
    exact = pairs[pairs["relation"].isin(list(_SCORE))]
    first, second, kept = (exact[name].to_numpy(np.int64) for name in ("i", "j", "group"))
    # If an image is in the group of one that only looks like it, its exact copies are in no group. They are still its copies.
    grouped = pairs.loc[pairs["group"] >= 0, ["i", "j"]].to_numpy(np.int64)
    kept = np.where((kept < 0) & ~np.isin(second, grouped), first, np.where((kept < 0) & ~np.isin(first, grouped), second, kept))
    # Each copy also has an edge to the representative, so other edges add nothing.
    to_kept = (first == kept) | (second == kept)
    members = np.where(first == kept, second, first)[to_kept]
    kept, relations = kept[to_kept], exact["relation"].to_numpy(object)[to_kept]
    names = samples["sample_id"].to_numpy(object)
    scores = copy_scores(len(samples), members, relations)
    scores[(samples["outcome"] != "ok").to_numpy(bool)] = np.nan
    findings = [
        Finding(
            kind=str(relation),
            score=_SCORE[relation],
            message=_MESSAGE[relation].format(partner=names[partner]),
            row=row,
            partner=partner,
            group=partner,
            evidence={"relation": str(relation)},
        )
        for row, partner, relation in zip(members.tolist(), kept.tolist(), relations, strict=True)
    ]
    return Result(scores, findings)

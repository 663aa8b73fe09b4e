"""Copies of the same picture: the same bytes, or different bytes that decode to the same pixels.

A copy counts twice in every average, and one under another name is easily split between training and evaluation. Of each group of copies one image,
the representative, is kept and every other is a finding.

Blind spots: none for what it claims; a copy that differs in a single pixel is for ``near_duplicates``.
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
EVIDENCE = {
    "partner": Evidence("Compared with"),
    "relation": Evidence("Relation", "name"),
}

_SCORE = {"identical_bytes": 1.0, "identical_pixels": 0.99}
_MESSAGE = {
    "identical_bytes": "Has the same bytes as {partner!r}; keep one of the two.",
    "identical_pixels": "Decodes to the same pixels as {partner!r} though the files differ; keep one of the two.",
}


def copy_scores(n: int, members: npt.NDArray[np.int64], relations: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    """Score samples by how certainly they are a copy.

    Args:
        n: number of samples.
        members: ``[m]`` rows that are copies of their group's representative.
        relations: ``[m]`` the relation of each.

    Returns:
        ``[n]``: 1 for the same bytes, 0.99 for the same pixels, 0 for images to keep.
    """
    scores = np.zeros(n, np.float32)
    np.maximum.at(scores, members, np.array([_SCORE[relation] for relation in relations], np.float32))
    return scores


def run(samples: pd.DataFrame, pairs: pd.DataFrame) -> Result:
    """Report every copy beside its group's representative; failed images have no score."""
    exact = pairs[pairs["relation"].isin(list(_SCORE))]
    first, second, kept = (exact[name].to_numpy(np.int64) for name in ("i", "j", "group"))
    # Where the first of a kind is in the group of a picture that only looks like it, its copies are in none; they are copies of it all the same.
    grouped = pairs.loc[pairs["group"] >= 0, ["i", "j"]].to_numpy(np.int64)
    kept = np.where((kept < 0) & ~np.isin(second, grouped), first, np.where((kept < 0) & ~np.isin(first, grouped), second, kept))
    # An edge without its group's representative says nothing that the two edges to the representative do not say.
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

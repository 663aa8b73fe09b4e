"""Pictures made from another: re-encoded, resized, cropped, mirrored, recolored, or another shot of the same scene.

Near-duplicates weigh a picture twice without a hash noticing, and vouch for each other's labels. Every finding stands on a comparison of pixels with
the group's representative, never on a similarity of embeddings alone, and never on a chain of look-alikes.

Blind spots: what the candidate search does not bring up is not compared; a crop to a small part of a picture is the usual miss. Pictures of a series
(frames of a video, a product on a turntable) are the same scene by design: judge those by ``leakage``.

Paper: Barz & Denzler 2020, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 6(6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

KINDS = ("re_encoded", "edited_copy", "same_scene")
FAMILY: Family = "duplicates"
EVIDENCE = {
    "partner": Evidence("Compared with"),
    "relation": Evidence("Relation", "name"),
    "certainty": Evidence("Certainty", "share"),
    "cosine": Evidence("Likeness of the embeddings"),
    "hamming": Evidence("Bits of the perceptual hash that differ, of 64"),
}

_MESSAGE = {
    "re_encoded": "Is a re-encoded or resized version of {partner!r}; keep the better of the two.",
    "edited_copy": "Is an edited copy (cropped, mirrored, recolored or overlaid) of {partner!r}; keep it only if it is meant as augmentation.",
    "same_scene": "Shows the same scene as {partner!r}; count the two as one when splitting.",
}
_SEVERITY = {"re_encoded": "warning", "edited_copy": "warning", "same_scene": "info"}


def member_scores(n: int, members: npt.NDArray[np.int64], certainty: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``[n]`` the certainty with which each sample is a near-duplicate of its representative; 0 where it is none.

    Args:
        n: number of samples.
        members: ``[m]`` rows.
        certainty: ``[m]`` in [0, 1].
    """
    scores = np.zeros(n, np.float32)
    np.maximum.at(scores, members, certainty)
    return scores


def run(samples: pd.DataFrame, pairs: pd.DataFrame) -> Result:
    """Report every member that is not an exact copy beside its group's representative; failed images have no score."""
    near = pairs[pairs["relation"].isin(list(_MESSAGE))]
    first, second, kept = (near[name].to_numpy(np.int64) for name in ("i", "j", "group"))
    # A picture whose partners all belong to other groups is in none itself, but it still is a copy of one of them.
    grouped = pairs.loc[pairs["group"] >= 0, ["i", "j"]].to_numpy(np.int64)
    alone = ~np.isin(first, grouped) | ~np.isin(second, grouped)
    kept = np.where((kept < 0) & alone, np.where(np.isin(first, grouped), first, second), kept)
    to_kept = (first == kept) | (second == kept)
    near, first, second, kept = near[to_kept], first[to_kept], second[to_kept], kept[to_kept]
    members = np.where(first == kept, second, first)
    certainty = near["score"].to_numpy(np.float32).clip(0, 1)
    scores = member_scores(len(samples), members, certainty)
    scores[(samples["outcome"] != "ok").to_numpy(bool)] = np.nan
    names = samples["sample_id"].to_numpy(object)
    rows = zip(members.tolist(), kept.tolist(), certainty.tolist(), near["relation"], near["cosine"], near["hamming"], strict=True)
    findings = [
        Finding(
            kind=relation,
            score=score,
            severity=_SEVERITY[relation],
            message=_MESSAGE[relation].format(partner=names[partner]),
            row=row,
            partner=partner,
            group=partner,
            evidence={"relation": relation, "certainty": score, "cosine": cosine, "hamming": hamming},
        )
        for row, partner, score, relation, cosine, hamming in rows
    ]
    return Result(scores, findings)

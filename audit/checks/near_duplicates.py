"""Resized, recompressed, cropped, turned, mirrored and edited copies, and other shots of the same thing, confirmed on the images.

Why it matters: near-duplicates count an image twice without any hash revealing it, and confirm each other's labels. Every finding is a comparison of
pixels with the group's representative, never a similarity of embeddings alone, and never a chain of similar images.

Blind spots: only candidates of the search are compared; where everything looks alike, it misses crops to a small part of an image. Images of a series
(frames of a video, a product on a turntable) are shots of the same thing by design: use ``leakage`` for those.

Paper: Barz & Denzler 2020, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 6(6).
"""

from __future__ import annotations

import json
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
    "cosine": Evidence("Cosine similarity of the embeddings"),
    "hamming": Evidence("Different bits of the perceptual hash, of 64"),
    "edits": Evidence("What was edited"),
}

_MESSAGE = {
    "re_encoded": "Re-encoded or resized copy of {partner}. Keep the better of the two.",
    "edited_copy": "Edited copy of {partner}{edits}. Keep it only if it is intended as augmentation.",
    "same_scene": "Another shot of the same thing as {partner}. Keep both in the same split.",
}
_SEVERITY = {"re_encoded": "warning", "edited_copy": "warning", "same_scene": "info"}


def member_scores(n: int, members: npt.NDArray[np.int64], certainty: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``[n]`` the certainty that each sample is a near-duplicate of its representative; else 0.

    Args:
        n: number of samples.
        members: ``[m]`` rows.
        certainty: ``[m]`` in [0, 1].
    """
    scores = np.zeros(n, np.float32)
    np.maximum.at(scores, members, certainty)
    return scores


def run(samples: pd.DataFrame, pairs: pd.DataFrame) -> Result:
    """Report every near-duplicate with its group's representative; failed images have no score."""
    near = pairs[pairs["relation"].isin(list(_MESSAGE))]
    first, second, kept = (near[name].to_numpy(np.int64) for name in ("i", "j", "group"))
    # An image whose partners are all in other groups has no group, but is still a copy of one of them.
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
    done = [json.loads(evidence).get("edits", []) for evidence in near["evidence"]]
    rows = zip(
        members.tolist(), kept.tolist(), certainty.tolist(), near["relation"], near["cosine"], near["hamming"], done, second.tolist(), strict=True
    )
    findings = [
        Finding(
            kind=relation,
            score=score,
            severity=_SEVERITY[relation],
            message=_MESSAGE[relation].format(partner=names[partner], edits=_edits(edits, names[edited])),
            row=row,
            partner=partner,
            group=partner,
            evidence={"relation": relation, "certainty": score, "cosine": cosine, "hamming": hamming, "edits": edits},
        )
        for row, partner, score, relation, cosine, hamming, edits, edited in rows
    ]
    return Result(scores, findings)


def _edits(edits: list[str], edited: str) -> str:
    return f": {edited} is {', '.join(edits)}" if edits else ""

"""What of the dataset could not be listed, and entries of its list that may mean something else.

An archive with a damaged header, or one that ends early, holds images that no other check can see: a run over what is left looks clean. Lists have
faults of their own: an image named twice, a folder of splits read as classes, one class spelled two ways. The listing itself meets all of them and
goes on; here they become findings about the dataset.

Blind spots: files that are not there and that nothing names; damage inside an image, which ``integrity`` sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

KINDS = (
    "not_listed",
    "behind_end_mark",
    "no_end_mark",
    "nothing_found",
    "splits_as_classes",
    "listed_twice",
    "similar_classes",
    "similar_splits",
    "joined_labels",
    "unread_metadata",
    "no_path",
    "no_image_column",
    "empty_classes",
    "empty_splits",
    "no_label_column",
    "backslashes",
)
FAMILY: Family = "quality"
EVIDENCE = {
    "archive": Evidence("Archive"),
    "start": Evidence("Start"),
    "bytes": Evidence("Bytes"),
    "places": Evidence("Places"),
    "entries": Evidence("Entries"),
    "names": Evidence("Names"),
    "splits": Evidence("Splits"),
    "others": Evidence("Others"),
}

_SCORES = {"error": 1.0, "warning": 0.6, "info": 0.2}
"""Rank only: what may be missing stands above what may be meant otherwise."""


def run(samples: pd.DataFrame, listing_problems: Sequence[Mapping[str, Any]]) -> Result:
    """Report what the listing met; no image is scored, for none of it is about an image that is in the list."""
    findings = [
        Finding(
            kind=problem["kind"],
            score=_SCORES[problem["severity"]],
            severity=problem["severity"],
            message=problem["message"],
            evidence=problem["evidence"],
        )
        for problem in listing_problems
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)

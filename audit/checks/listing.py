"""Parts of the dataset that could not be listed, and ambiguous entries.

Why it matters: an archive with a damaged header, or one that ends early, contains images that no other check can see, so the scan of the rest looks
clean. Lists have mistakes too: an image listed twice, a folder of splits read as classes, one class spelled two ways. Listing continues past such
problems, and this check reports them as findings about the dataset.

Blind spots: missing files that nothing lists; damage inside an image, which ``integrity`` finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

KINDS = (
    *("not_listed", "behind_end_mark", "no_end_mark", "nothing_found", "splits_as_classes", "listed_twice", "similar_classes", "similar_splits"),
    *("assumed_layout", "assumed_splits", "other_names", "unread_containers", "labels_from_tables", "unused_labels", "ambiguous_names"),
    *(
        "unmatched_names",
        "one_hot_labels",
        "float_labels",
        "missing_labels",
        "unknown_class_numbers",
        "unmatched_labels",
        "unlisted_images",
        "scaled_values",
        "not_fetched",
        "no_objects",
    ),
    *("empty_boxes", "repeated_boxes", "boxes_outside", "tiny_boxes"),
    *("joined_labels", "unread_metadata", "no_path", "no_image_column", "empty_classes", "empty_splits", "no_label_column", "backslashes"),
    *("special_file", "hidden_image", "possible_groups"),
)
FAMILY: Family = "quality"
EVIDENCE = {
    "archive": Evidence("Archive"),
    "start": Evidence("First byte"),
    "bytes": Evidence("Bytes"),
    "places": Evidence("Places"),
    "entries": Evidence("Entries"),
    "names": Evidence("Names"),
    "splits": Evidence("Splits"),
    "others": Evidence("Others"),
    "layout": Evidence("Layout"),
    "other": Evidence("Other layout"),
    "mode": Evidence("Mode"),
    "low": Evidence("Black"),
    "high": Evidence("White"),
}

_SCORES = {"error": 1.0, "warning": 0.6, "info": 0.2}
"""For ranking only: missing images rank above entries that may be misread."""


def run(samples: pd.DataFrame, listing_problems: Sequence[Mapping[str, Any]]) -> Result:
    """Report the problems of the listing; images have no score, since no problem is about a listed image."""
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

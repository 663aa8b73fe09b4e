"""Match the samples of two versions of a dataset by content, and byte-identical copies by name, split and label."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_KEYS = (("content", "sample_id"), ("content", "split", "label"), ("content", "label"), ("content", "split"), ("content",), ("sample_id",))
"""Columns that must agree, tried in this order on the unmatched rows; the last one matches samples whose bytes were replaced."""

_MAJORITY = 0.5
"""A class counts as renamed if more than this share of the images of both the old and the new name moved from one to the other."""


def match(old: pd.DataFrame, new: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the old row of each new row, or -1.

    Args:
        old: columns ``sample_id, content_id, split, label``; a null content id (an unreadable image) matches by name only.
        new: same columns, of the new version.

    Returns:
        int64 ``[len(new)]``; no old row occurs twice.
    """
    keys_old, keys_new = _keyed(old), _keyed(new)
    found = np.full(len(new), -1, np.int64)
    free = np.ones(len(old), bool)
    for names in _KEYS:
        left, right = np.flatnonzero(free), np.flatnonzero(found < 0)
        if not len(left) or not len(right):
            break
        free_old, free_new = _numbered(keys_old, left, names), _numbered(keys_new, right, names)
        joined = free_new.merge(free_old, on=[*names, "ordinal"], suffixes=("_new", "_old"))
        found[joined["row_new"]] = joined["row_old"]
        free[joined["row_old"]] = False
    return found


def renamed_names(old: pd.Series[Any], new: pd.Series[Any], old_of: npt.NDArray[np.int64]) -> dict[str, str]:
    """Return old -> new name of each class (or split) that was renamed as a whole.

    The old name no longer exists, the new one did not exist, and more than half of the images of both moved from one to the other.

    Args:
        old: names by old row.
        new: names by new row.
        old_of: as `match` returns it.
    """
    removed, added = {*old.dropna()} - {*new.dropna()}, {*new.dropna()} - {*old.dropna()}
    rows = np.flatnonzero((old_of >= 0) & new.isin(added).to_numpy())
    pairs = pd.DataFrame({"old": old.to_numpy()[old_of[rows]], "new": new.to_numpy()[rows]})
    pairs = pairs[pairs["old"].isin(removed)]
    sizes_old, sizes_new = old[old.isin(removed)].value_counts(), new[new.isin(added)].value_counts()
    counted = pairs.groupby(["old", "new"]).size().rename("images").reset_index()
    return {
        str(row["old"]): str(row["new"])
        for row in counted.to_dict("records")
        if row["images"] > _MAJORITY * sizes_old[row["old"]] and row["images"] > _MAJORITY * sizes_new[row["new"]]
    }


def _keyed(samples: pd.DataFrame) -> pd.DataFrame:
    content = samples["content_id"].astype(object)
    unread = "unread: " + samples["sample_id"].astype(str)
    frame = pd.DataFrame({"content": content.where(content.notna(), unread), "sample_id": samples["sample_id"]})
    for name in ("split", "label"):
        frame[name] = samples[name].astype(object).where(samples[name].notna(), "")
    return frame


def _numbered(keys: pd.DataFrame, rows: npt.NDArray[np.int64], names: tuple[str, ...]) -> pd.DataFrame:
    """Return the keys of some rows, with a running number among equal keys."""
    part = keys.iloc[rows][list(names)]
    return part.assign(ordinal=part.groupby(list(names)).cumcount(), row=rows)

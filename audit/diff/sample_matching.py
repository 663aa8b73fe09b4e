"""Which sample of one version of a dataset is which of another: by content, and byte twins by as much of the rest as still agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_KEYS = (("content", "sample_id"), ("content", "split", "label"), ("content", "label"), ("content", "split"), ("content",), ("sample_id",))
"""What two rows must agree in, tried in this order on what is left; the last is a sample whose bytes were replaced."""

_WHOLE = 0.5
"""More than this share of a class must have gone to one new name, and have come from one old name, for the class to count as renamed."""


def match(old: pd.DataFrame, new: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return for each new row the old row that is the same sample, or -1.

    Args:
        old: columns ``sample_id, content_id, split, label``; a null content id (bytes that could not be read) matches by name only.
        new: the same of the other version.

    Returns:
        int64 ``[len(new)]``; no old row twice.
    """
    keys_old, keys_new = _keyed(old), _keyed(new)
    found = np.full(len(new), -1, np.int64)
    free = np.ones(len(old), bool)
    for names in _KEYS:
        left, right = np.flatnonzero(free), np.flatnonzero(found < 0)
        if not len(left) or not len(right):
            break
        here, there = _numbered(keys_old, left, names), _numbered(keys_new, right, names)
        joined = there.merge(here, on=[*names, "ordinal"], suffixes=("_new", "_old"))
        found[joined["row_new"]] = joined["row_old"]
        free[joined["row_old"]] = False
    return found


def renamed_names(old: pd.Series[Any], new: pd.Series[Any], old_of: npt.NDArray[np.int64]) -> dict[str, str]:
    """Return old -> new name of each class (or split) that was renamed as a whole.

    The old name is gone, the new one was not there, and more than half of the images of either went from the one to the other.

    Args:
        old: names by old row.
        new: names by new row.
        old_of: as `match` returns it.
    """
    gone, come = {*old.dropna()} - {*new.dropna()}, {*new.dropna()} - {*old.dropna()}
    rows = np.flatnonzero((old_of >= 0) & new.isin(come).to_numpy())
    pairs = pd.DataFrame({"old": old.to_numpy()[old_of[rows]], "new": new.to_numpy()[rows]})
    pairs = pairs[pairs["old"].isin(gone)]
    sizes_old, sizes_new = old[old.isin(gone)].value_counts(), new[new.isin(come)].value_counts()
    counted = pairs.groupby(["old", "new"]).size().rename("images").reset_index()
    return {
        str(row["old"]): str(row["new"])
        for row in counted.to_dict("records")
        if row["images"] > _WHOLE * sizes_old[row["old"]] and row["images"] > _WHOLE * sizes_new[row["new"]]
    }


def _keyed(samples: pd.DataFrame) -> pd.DataFrame:
    content = samples["content_id"].astype(object)
    unread = "unread: " + samples["sample_id"].astype(str)
    frame = pd.DataFrame({"content": content.where(content.notna(), unread), "sample_id": samples["sample_id"]})
    for name in ("split", "label"):
        frame[name] = samples[name].astype(object).where(samples[name].notna(), "")
    return frame


def _numbered(keys: pd.DataFrame, rows: npt.NDArray[np.int64], names: tuple[str, ...]) -> pd.DataFrame:
    """Return some rows' keys with a number among those that are alike."""
    part = keys.iloc[rows][list(names)]
    return part.assign(ordinal=part.groupby(list(names)).cumcount(), row=rows)

"""Changes of the samples between two versions of a dataset: added, removed, changed, moved, relabelled, renamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.diff.sample_matching import renamed_names

CHANGES = ("added", "removed", "changed", "moved", "relabelled", "renamed")
"""Changes of a sample. ``changed``: other bytes under the same name. ``moved``: to another split. ``renamed``: only the name differs. A sample can be
moved and relabelled at once."""

MORE_THAN_NAMES = tuple(change for change in CHANGES if change != "renamed")
"""Changes other than a new name."""

COLUMNS = ("sample_id", "content_id", "split", "label", "labels")
"""Columns of ``audit.tables.SAMPLES`` that identify a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleChanges:
    """Changes of the samples between two versions of a dataset."""

    samples: pd.DataFrame
    """One row per sample with a change: ``added, removed, changed, moved, relabelled, renamed`` (bool), ``old_row, new_row``
    (-1 = none), and ``old_id, new_id, old_split, new_split, old_label, new_label``."""
    counts: Mapping[str, int]
    """Number of samples per change (`CHANGES`), ``unchanged``, and in total (``old``, ``new``)."""
    renamed_classes: Mapping[str, str]
    renamed_splits: Mapping[str, str]
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    sizes: pd.DataFrame
    """``split, class, images``: images of the old version. Names that were renamed as a whole are the new ones; "" for none."""


def sample_changes(before: pd.DataFrame, after: pd.DataFrame, old_of: npt.NDArray[np.int64]) -> SampleChanges:
    """Return the changes of the samples.

    Args:
        before: columns ``sample_id, content_id, split, label``; several labels as one text, see `one_label`.
        after: same columns, of the new version.
        old_of: int64 ``[len(after)]``, as `audit.diff.sample_matching.match` returns it.
    """
    classes = renamed_names(before["label"], after["label"], old_of)
    splits = renamed_names(before["split"], after["split"], old_of)
    samples, counts = _samples(before, after, old_of, classes, splits)
    names_before, names_after = {*before["label"].dropna()}, {*after["label"].dropna()}
    return SampleChanges(
        samples=samples,
        counts=counts,
        renamed_classes=classes,
        renamed_splits=splits,
        classes_added=tuple(sorted(names_after - names_before - {*classes.values()})),
        classes_removed=tuple(sorted(names_before - names_after - {*classes})),
        sizes=_sizes(before, classes, splits),
    )


def one_label(samples: pd.DataFrame) -> pd.DataFrame:
    """Join several labels into one text, so that labels can be compared, and drop the column ``labels``."""
    several = samples["labels"].notna()
    if several.any():
        joined = samples.loc[several, "labels"].map(lambda labels: ", ".join(sorted(labels)))
        samples = samples.assign(label=samples["label"].astype(object).where(~several, joined))
    return samples.drop(columns="labels")


def _samples(
    before: pd.DataFrame, after: pd.DataFrame, old_of: npt.NDArray[np.int64], classes: Mapping[str, str], splits: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    gone = np.setdiff1d(np.arange(len(before)), old_of)
    old_row = np.concatenate([old_of, gone])
    new_row = np.concatenate([np.arange(len(after)), np.full(len(gone), -1)])
    frame = pd.DataFrame({"old_row": old_row, "new_row": new_row})
    for name, short in (("sample_id", "id"), ("split", "split"), ("label", "label"), ("content_id", "content")):
        frame[f"old_{short}"], frame[f"new_{short}"] = _taken(before[name], old_row), _taken(after[name], new_row)
    both = (frame["old_row"] >= 0) & (frame["new_row"] >= 0)
    frame["added"], frame["removed"] = frame["old_row"] < 0, frame["new_row"] < 0
    frame["changed"] = both & _differ(frame["old_content"], frame["new_content"])
    frame["moved"] = both & _differ(frame["old_split"].replace(dict(splits)), frame["new_split"])
    frame["relabelled"] = both & _differ(frame["old_label"].replace(dict(classes)), frame["new_label"])
    frame["renamed"] = both & _differ(frame["old_id"], frame["new_id"]) & ~frame["moved"] & ~frame["relabelled"]
    touched = frame[list(CHANGES)].any(axis=1)
    counts = {change: int(frame[change].sum()) for change in CHANGES}
    counts |= {"unchanged": int((~touched).sum()), "old": len(before), "new": len(after)}
    changed = frame[touched].drop(columns=["old_content", "new_content"])
    names = changed["new_id"].where(changed["new_row"] >= 0, changed["old_id"])
    return changed.iloc[np.argsort(names.to_numpy(), kind="stable")].reset_index(drop=True), counts


def _sizes(samples: pd.DataFrame, classes: Mapping[str, str], splits: Mapping[str, str]) -> pd.DataFrame:
    split = samples["split"].astype(object).replace(dict(splits)).fillna("")
    label = samples["label"].astype(object).replace(dict(classes)).fillna("")
    return pd.DataFrame({"split": split, "class": label}).value_counts(sort=False).rename("images").reset_index()


def _taken(values: pd.Series[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the values at these rows as objects, None for row -1 and for nulls."""
    found = np.full(len(rows), None, object)
    given = values.astype(object)
    found[rows >= 0] = given.where(given.notna(), None).to_numpy()[rows[rows >= 0]]
    return found


def _differ(first: pd.Series[Any], second: pd.Series[Any]) -> pd.Series[bool]:
    return first.fillna("") != second.fillna("")

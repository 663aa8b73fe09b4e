"""The group of each image: what several images share besides the class, such as the patient, product, video, session or sender."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from audit.errors import SourceError, nearest
from audit.sources.storage.problems import EXAMPLES, Problem

if TYPE_CHECKING:
    from audit.sources.base import Sample

SUGGESTED = r"(?:^|/)([A-Za-z]*\d+)[_-][^/]*$"
"""File names that may start with a group: a number, or letters and a number, before the first ``_`` or ``-``."""

_LEAST_NAMED, _LEAST_SHARED, _LARGEST = 0.5, 0.25, 0.5
"""Shares of the images: with such a name; in a group of several, among those; at most, in one group."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the group of an image is found; without a column and a pattern, images have no groups."""

    column: str | None = None
    pattern: str | None = None
    """Regular expression that is searched in the sample id; its first group, or else its match, is the image's group."""

    @property
    def name(self) -> str:
        """What groups are called in messages."""
        return self.column or "group of file names"

    def of(self, sample: Sample) -> str | None:
        """Return the group of an image; None if it has none."""
        if self.column is not None:
            value = sample.metadata.get(self.column)
            return None if value in (None, "") else value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        if self.pattern is None:
            return None
        found = re.search(self.pattern, sample.sample_id)
        return None if found is None else (found[1] if found.re.groups else found[0]) or None


def refuse_unknown(grouping: Grouping, location: str, grouped: int, columns: Sequence[str]) -> None:
    """Raise SourceError if no image has a group.

    Args:
        grouping: what was requested.
        location: the dataset.
        grouped: number of images with a group.
        columns: metadata columns of the dataset.
    """
    if grouped:
        return
    if grouping.column is not None and grouping.column in columns:
        raise SourceError(location, f"column {grouping.column!r} is empty", "name another column with --group-column")
    if grouping.column is not None:
        known = f"its columns are {', '.join(columns)}" if columns else "it has no columns besides path, label and split"
        hint = nearest(grouping.column, columns) if columns else "pass a manifest or --labels file with it, or use --group-pattern"
        raise SourceError(location, f"has no column {grouping.column!r}; {known}", hint)
    if grouping.pattern is not None:
        raise SourceError("--group-pattern", f"{grouping.pattern!r} is found in no sample id of {location}", "test it on an id such as a/b_1.jpg")


def possible_groups(sample_ids: Sequence[str], labels: Sequence[str | None], splits: Sequence[str | None]) -> Iterator[Problem]:
    """Yield a problem if file names look like groups: many start with the same number. Nothing is assumed from it."""
    pattern = re.compile(SUGGESTED)
    names = [found[1] if (found := pattern.search(sample_id)) else None for sample_id in sample_ids]
    sizes = Counter(name for name in names if name is not None)
    named, shared = sum(sizes.values()), sum(size for size in sizes.values() if size > 1)
    if len(sizes) < 2 or named < _LEAST_NAMED * len(names) or shared < _LEAST_SHARED * named or max(sizes.values()) > _LARGEST * named:
        return
    if _is_class(names, labels):
        return
    crossing = _in_several(names, splits)
    first = next(PurePosixPath(sample_id).name for sample_id, name in zip(sample_ids, names, strict=True) if name and sizes[name] > 1)
    problem = f"file names look like groups: {named:,} start with one of {len(sizes):,} numbers, such as {first}"
    problem += f"; {crossing:,} of these are in several splits" if crossing else ""
    hint = f"if the number is a patient, session, video or product, scan with --group-pattern '{SUGGESTED}'"
    evidence: Mapping[str, object] = {"entries": named, "names": sorted(name for name in sizes if sizes[name] > 1)[:EXAMPLES]}
    yield Problem(kind="possible_groups", severity="info", problem=problem, hint=hint, evidence=evidence)


def _is_class(names: Sequence[str | None], labels: Sequence[str | None]) -> bool:
    """Return whether names repeat the class, as in ``n01440764_10026``: there are as many, and each has one class."""
    both = {(name, label) for name, label in zip(names, labels, strict=True) if name is not None and label is not None}
    return bool(both) and len(both) == len({name for name, _ in both}) == len({label for _, label in both})


def _in_several(names: Sequence[str | None], splits: Sequence[str | None]) -> int:
    both = {(name, split) for name, split in zip(names, splits, strict=True) if name is not None and split is not None}
    return sum(count > 1 for count in Counter(name for name, _ in both).values())

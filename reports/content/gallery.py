"""Images in reports: examples of findings, groups of duplicates side by side, and confused classes. They are small and few."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.images.boxes import shown_images
from audit.images.previews import previews
from audit.tables import cell_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from audit import Run
    from reports.content.summary import ConfusedPair, Top

GROUPS, MEMBERS = 20, 6
EXAMPLES_PER_CHECK = 12
EXAMPLES_PER_PAIR = 4

BUDGET = 3_400_000
"""Bytes of all images of a report before encoding. Base64 adds a third, so with text the file stays below 5 MB."""


@dataclass(frozen=True, slots=True)
class ShownImage:
    """One image of a report."""

    sample_id: str
    label: str | None
    split: str | None
    data: str | None
    """A data URI; None without a preview."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of duplicates, each compared with the first."""

    relations: tuple[str, ...]
    images: tuple[ShownImage, ...]
    more: int
    """Members not shown."""


class ImageLoader:
    """Loads the images of a report, each once, until `BUDGET` is used up."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._left = BUDGET
        self._known: dict[int, ShownImage] = {}
        self._rows: dict[str, int] = {}

    def of_names(self, names: Sequence[str]) -> list[ShownImage]:
        """Return images by name, in order; unknown names are ignored."""
        fresh = [name for name in dict.fromkeys(names) if name not in self._rows]
        if fresh:
            self._rows |= dict(zip(fresh, self._run.rows_of(fresh).tolist(), strict=True))
        return self.of_rows([self._rows[name] for name in names if self._rows[name] >= 0])

    def of_rows(self, rows: Sequence[int]) -> list[ShownImage]:
        """Return images by row, in order."""
        fresh = [row for row in dict.fromkeys(rows) if row not in self._known]
        if fresh:
            samples = self._run.columns("sample_id", "label", "split", rows=np.asarray(fresh, np.int64)).to_dict("records")
            for row, sample, data in zip(fresh, samples, previews(self._run, fresh), strict=True):
                shown = data is not None and len(data) <= self._left
                self._left -= len(data) if data is not None and shown else 0
                uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data is not None and shown else None
                self._known[row] = ShownImage(str(sample["sample_id"]), cell_value(sample["label"]), cell_value(sample["split"]), uri)
        return [self._known[row] for row in rows]


def of_findings(findings: Iterable[Top], loader: ImageLoader) -> list[tuple[Top, list[ShownImage]]]:
    """Return findings with their images: an image and the one it was compared with, or examples of a class."""
    shown = [(finding, shown_images(finding.sample_id, finding.evidence)) for finding in findings]
    loader.of_names([name for _, names in shown for name in names])  # read all at once
    return [(finding, loader.of_names(names)) for finding, names in shown]


def groups_of(run: Run, loader: ImageLoader) -> list[Group]:
    """Return the largest groups of duplicates, at most `GROUPS` of them with `MEMBERS` members each."""
    if not (run.tables / "pairs.parquet").is_file():
        return []
    pairs = run.pairs[run.pairs["group"] >= 0]
    size = pairs.groupby("group").size()
    largest = sorted(size.items(), key=lambda item: (-item[1], str(item[0]).zfill(12)))[:GROUPS]
    groups = []
    for first, _ in largest:
        own = pairs[pairs["group"] == first]
        members = sorted({*own["i"].tolist(), *own["j"].tolist()} - {first})
        groups.append((tuple(sorted(own["relation"].unique())), [int(str(first)), *members]))
    loader.of_rows([row for _, rows in groups for row in rows[:MEMBERS]])  # read all at once
    return [Group(relations, tuple(loader.of_rows(rows[:MEMBERS])), max(len(rows) - MEMBERS, 0)) for relations, rows in groups]


def of_pairs(run: Run, pairs: Sequence[ConfusedPair], loader: ImageLoader) -> list[tuple[ConfusedPair, list[ShownImage]]]:
    """Return confused classes with images whose label findings suggest the other class; if there are none, images of either class."""
    labels = run.columns("label")["label"] if pairs else None
    rows = []
    for pair in pairs:
        where = {"check": "label_errors", "label": pair.label, "suggested_label": pair.predicted}
        names = [name for name in run.findings_page(where, limit=EXAMPLES_PER_PAIR).rows["sample_id"] if isinstance(name, str)]
        either = [row for label in (pair.label, pair.predicted) for row in np.flatnonzero(labels == label)[:2].tolist()]
        rows.append([int(row) for row in run.rows_of(names) if row >= 0] or either)
    loader.of_rows([row for own in rows for row in own])  # read all at once
    return [(pair, loader.of_rows(own)) for pair, own in zip(pairs, rows, strict=True)]

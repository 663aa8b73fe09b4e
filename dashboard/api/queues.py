"""Queues of the review panel: which cards, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from audit.errors import AuditError
from audit.review.agreement import precision
from audit.review.cards import row_id
from audit.run.findings_index import select
from audit.run.ranking import ranked
from audit.tables import SEVERITIES, cell_value
from dashboard.api.desk import Verdicts
from dashboard.api.families import checks_of
from dashboard.api.search import matching_rows
from dashboard.api.typical import rows_of_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from audit.checks.base import Family
    from audit.run.run import Run
    from dashboard.api.desk import Desk

UNDECIDED, DECIDED, ALL = STATES = ("undecided", "decided", "all")
SORTS = ("importance", "class", "size", "random")
FILTERS = {"checks": "check", "kinds": "kind", "severities": "severity", "labels": "label", "suggested": "suggested_label", "splits": "split"}
"""Filter -> its column of the findings."""
IMAGES = "images"
"""The queue of all images, with or without findings."""
WHOLE_FIRST = ("bias",)
"""Pages that put findings about classes and the dataset before those about images: they are few, and each concerns many images."""
MOST_IMAGES = 20_000
"""Images of a queue of images."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A queue: a page, its filters and its order."""

    page: str
    """A family of checks, or `IMAGES`."""
    filters: Mapping[str, tuple[str, ...]]
    state: str = ALL
    verdicts: tuple[str, ...] = ()
    sort: str = SORTS[0]
    seed: int = 0
    text: str = ""
    near: int | None = None
    """Row whose nearest images are wanted."""
    rows: tuple[int, ...] = ()
    """These images, in this order."""

    def __post_init__(self) -> None:
        for value, known in ((self.state, STATES), (self.sort, SORTS)):
            if value not in known:
                raise AuditError("queue", f"unknown value {value!r}", f"use one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Queue:
    """The cards of a queue."""

    ids: list[str]
    verdicts: dict[str, str]
    """Card id -> verdict, for the decided ones."""
    left_out: int
    """Images beyond `MOST_IMAGES`."""


def queue(desk: Desk, wanted: Wanted, *, holding: str | None = None) -> Queue:
    """Return the cards of a queue, most important first by default.

    Args:
        desk: the run with its decisions.
        wanted: page, filters and order.
        holding: id of a finding; its card is shown for this finding. If the filters hide it, they are dropped.
    """
    standing = desk.standing()
    now, left_out = Verdicts(standing), 0
    if wanted.page == IMAGES:
        rows = _images(desk.run, wanted)
        left_out = max(len(rows) - MOST_IMAGES, 0)
        ids = [row_id(row) for row in rows[:MOST_IMAGES].tolist()]
    else:
        ids = _findings(desk, wanted)
    of = {name: verdict for name in ids if (card := desk.cards.of(name)) and (verdict := now.of(card))}
    if wanted.state != ALL:
        ids = [name for name in ids if (name in of) == (wanted.state == DECIDED)]
    if wanted.verdicts:
        ids = [name for name in ids if of.get(name) in wanted.verdicts]
    held = desk.cards.of(holding) if holding else None
    if holding and held and holding not in ids:
        same = set(held.findings) & set(ids)
        if same:
            ids = [holding if name in same else name for name in ids]
            verdict = next((of[name] for name in same if name in of), None)
            of |= {holding: verdict} if verdict else {}
        elif wanted != (whole := Wanted(wanted.page, {})):
            return queue(desk, whole, holding=holding)
    return Queue(ids, of, left_out)


def options(desk: Desk, page: str) -> dict[str, list[str]]:
    """Return filter -> its options on a page, for the findings or images of the run."""
    if page == IMAGES:
        columns = desk.run.columns("split", "label", "labels")
        several = {label for labels in columns["labels"].dropna() for label in labels}
        return {"labels": sorted({*columns["label"].dropna().unique(), *several}), "splits": sorted(columns["split"].dropna().unique())}
    own = select(desk.run.findings_index, {"check": checks_of(desk.run, cast("Family", page))})
    found = {part: sorted(str(value) for value in own[column].dropna().unique()) for part, column in FILTERS.items()}
    found["severities"] = [level for level in reversed(SEVERITIES) if level in found["severities"]]
    return found


def _findings(desk: Desk, wanted: Wanted) -> list[str]:
    index = desk.run.findings_index
    checks = checks_of(desk.run, cast("Family", wanted.page))
    where: dict[str, Any] = {FILTERS[part]: values for part, values in wanted.filters.items() if values and part in FILTERS}
    chosen = select(index, {"check": checks} | where)
    chosen = chosen[chosen["check"].isin(checks)]
    standing = desk.standing()
    if len(standing) and (learned := precision(standing, index))["decided"].any():
        chosen = ranked(chosen, learned)
    if wanted.page in WHOLE_FIRST:
        chosen = chosen.iloc[chosen["sample_id"].notna().to_numpy().argsort(kind="stable")]
    first = desk.cards.first([str(finding) for finding in chosen["finding_id"]])
    if wanted.sort == SORTS[0]:
        return first
    chosen = chosen[chosen["finding_id"].isin(first)]
    if wanted.sort == "class":
        chosen = chosen.sort_values("label", kind="stable", na_position="last")
    elif wanted.sort == "size":
        rows = desk.run.rows_of([cell_value(name) or "" for name in chosen["sample_id"]])
        chosen = chosen.iloc[np.argsort(-_pixels(desk.run, rows), kind="stable")]
    else:
        chosen = chosen.iloc[np.random.default_rng(wanted.seed).permutation(len(chosen))]
    return [str(finding) for finding in chosen["finding_id"]]


def _images(run: Run, wanted: Wanted) -> npt.NDArray[np.int64]:
    if wanted.rows:
        rows = np.array([row for row in wanted.rows if row < len(run)], np.int64)
    elif wanted.near is not None and wanted.near < len(run):
        near, _ = run.neighbors_of(wanted.near)
        rows = np.array([wanted.near, *near[near >= 0].tolist()], np.int64)
    elif wanted.text:
        rows = matching_rows(run, wanted.text, MOST_IMAGES)
    else:
        rows = np.arange(len(run), dtype=np.int64)
    labels, splits = wanted.filters.get("labels", ()), wanted.filters.get("splits", ())
    if labels:
        rows = rows[np.isin(rows, np.concatenate([rows_of_class(run, label) for label in labels]))]
    if splits:
        rows = rows[run.columns("split")["split"].isin(splits).to_numpy()[rows]]
    return _sorted(run, rows, wanted)


def _sorted(run: Run, rows: npt.NDArray[np.int64], wanted: Wanted) -> npt.NDArray[np.int64]:
    if wanted.sort == "random":
        return np.random.default_rng(wanted.seed).permutation(rows)
    if wanted.sort == "class":
        return rows[np.argsort(run.columns("label")["label"].fillna("").to_numpy(str)[rows], kind="stable")]
    if wanted.sort == "size":
        return rows[np.argsort(-_pixels(run, rows), kind="stable")]
    if wanted.near is not None or wanted.rows:
        return rows
    try:
        score = run.label_quality["score"].to_numpy(np.float32, na_value=0.0)[rows]
    except AuditError:
        return rows
    return rows[np.argsort(-np.nan_to_num(score), kind="stable")]


def _pixels(run: Run, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the area of images in pixels; -1 without one."""
    columns = run.columns("width", "height")
    area = columns["width"].to_numpy(np.float64, na_value=np.nan) * columns["height"].to_numpy(np.float64, na_value=np.nan)
    return np.where(rows >= 0, np.nan_to_num(np.append(area, np.nan)[rows], nan=-1.0), -1.0)

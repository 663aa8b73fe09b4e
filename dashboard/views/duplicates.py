"""Duplicates and leakage between splits: both images side by side, where they differ, and what a clean split removes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from audit.errors import AuditError
from audit.tables import PAIRS
from dashboard.components import images
from dashboard.components.families import checks_of
from dashboard.components.overlay import WIDTH, overlay, place_of
from dashboard.components.page import Page
from dashboard.components.review import review
from dashboard.components.text import literal
from dashboard.components.verdicts import OF_COPIES
from dashboard.state import summary_of
from reports.content.wording import label, percent, title

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run
from dashboard.components.overlay import Place

_MEMBERS = 12
_SHADES = "Black: equal. Brighter: larger difference (amplified three times)."


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Duplicates & leakage")
    found = summary_of(run)
    pairs = ", ".join(f"{literal(title(relation))} **{number:,}**" for relation, number in found.duplicates.relations.items())
    lines = [f"Duplicate sets **{found.duplicates.groups:,}** · images **{found.duplicates.images:,}**" + (f" · pairs: {pairs}" if pairs else "")]
    if found.leaving:
        parts = ", ".join(f"**{number:,}** from **{literal(split)}**" for split, number in found.leaving.items())
        lines.append(f"A clean split would remove {parts}. Download it under **Decisions & export**.")
    st.markdown("  \n".join(lines))
    review(run, "duplicates", checks_of(run, "duplicates"), OF_COPIES, _group)


def _group(page: Page, record: Mapping[str, Any]) -> None:
    partner = record["evidence"].get("partner")
    if not isinstance(partner, str):
        return
    row, other = (int(found) for found in page.run.rows_of([record["sample_id"], partner]))
    try:
        pairs = page.run.pairs
    except AuditError:  # the images can be shown without pairs
        pairs = PAIRS.empty_table().to_pandas()
    first, second = images.large(page.run, row), images.large(page.run, other)
    if first is not None and second is not None:
        with st.expander("Where they differ", icon=":material/difference:"):
            place = place_of(pairs, row, other)
            drawn, covered = overlay(first, second, place)
            st.image(drawn, width=WIDTH, alt=f"Where the two images differ. {_uncovered(covered)}".strip())
            st.caption(" ".join(filter(None, (_laid(place), _SHADES, _uncovered(covered)))))
    _members(page, pairs, row, other)


def _laid(place: Place) -> str:
    if place.is_whole:
        return "The second image is overlaid on the first, edge to edge."
    return f"The second image is overlaid on the first at the best alignment{', mirrored' if place.mirrored else ''}. Lines along edges may remain."


def _uncovered(covered: float) -> str:
    return f"Striped blue: not covered by the second image ({percent(1 - covered)} of the first)." if covered < 1 else ""


def _members(page: Page, pairs: pd.DataFrame, row: int, other: int) -> None:
    groups = pairs.loc[(pairs["i"].isin([row, other]) | pairs["j"].isin([row, other])) & (pairs["group"] >= 0), "group"].unique()
    of_groups = pairs[pairs["group"].isin(groups)]
    rows = np.unique(of_groups[["i", "j"]].to_numpy(np.int64))
    if len(rows) <= 2:
        return
    st.markdown(f"**Duplicate set: {len(rows):,} images**" + (f" (first {_MEMBERS} shown)" if len(rows) > _MEMBERS else ""))
    rows = rows[:_MEMBERS]
    facts = page.run.columns("label", "split", rows=rows).to_dict("records")
    images.gallery(page.run, rows.tolist(), [_caption(fact, page.words) for fact in facts])


def _caption(fact: Mapping[Any, Any], words: Mapping[str, str]) -> str:
    parts = (fact["split"], label(fact["label"], words) if isinstance(fact["label"], str) else None)
    return literal(" · ".join(part for part in parts if isinstance(part, str)))

"""The same picture twice, and across splits: both side by side, where they differ, and what a clean split would take out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from audit.errors import AuditError
from dashboard import pictures
from dashboard.page import Page
from dashboard.review import review
from dashboard.state import summary_of
from dashboard.text import literal
from dashboard.verdicts import OF_COPIES
from reports.wording import label, title

if TYPE_CHECKING:
    from audit.run import Run

CHECKS = ("leakage", "exact_duplicates", "near_duplicates")
_MEMBERS = 12


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Duplicates & leakage")
    found = summary_of(run)
    pairs = ", ".join(f"{literal(title(relation))} **{number:,}**" for relation, number in found.duplicates.relations.items())
    lines = [f"Groups **{found.duplicates.groups:,}** · images in a group **{found.duplicates.images:,}**" + (f" · pairs: {pairs}" if pairs else "")]
    if found.leaving:
        parts = ", ".join(f"**{number:,}** from **{literal(split)}**" for split, number in found.leaving.items())
        lines.append(f"A clean split would take out {parts}. Download it under **Decisions & export**.")
    st.markdown("  \n".join(lines))
    review(run, "duplicates", CHECKS, OF_COPIES, _group)


def _group(page: Page, record: Mapping[str, Any]) -> None:
    partner = record["evidence"].get("partner")
    if not isinstance(partner, str):
        return
    row, other = (int(found) for found in page.run.rows_of([record["sample_id"], partner]))
    first, second = pictures.large(page.run, row), pictures.large(page.run, other)
    if first is not None and second is not None:
        with st.expander("Where they differ", icon=":material/difference:"):
            st.image(pictures.difference(first, second), width=360, alt="Difference of the two pictures")
            st.caption("Black: equal. The brighter, the more they differ, three times amplified; the second is stretched to the size of the first.")
    _members(page, row, other)


def _members(page: Page, row: int, other: int) -> None:
    try:
        pairs = page.run.pairs
    except AuditError:
        return
    groups = pairs.loc[(pairs["i"].isin([row, other]) | pairs["j"].isin([row, other])) & (pairs["group"] >= 0), "group"].unique()
    of_groups = pairs[pairs["group"].isin(groups)]
    rows = np.unique(of_groups[["i", "j"]].to_numpy(np.int64))
    if len(rows) <= 2:
        return
    st.markdown(f"**The group: {len(rows):,} images**" + (f", the first {_MEMBERS} shown" if len(rows) > _MEMBERS else ""))
    rows = rows[:_MEMBERS]
    facts = page.run.columns("label", "split", rows=rows).to_dict("records")
    pictures.gallery(page.run, rows.tolist(), [_caption(fact, page.words) for fact in facts])


def _caption(fact: Mapping[Any, Any], words: Mapping[str, str]) -> str:
    parts = (fact["split"], label(fact["label"], words) if isinstance(fact["label"], str) else None)
    return literal(" · ".join(part for part in parts if isinstance(part, str)))

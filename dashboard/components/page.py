"""The queue of a page under review, and how a finding is shown on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.components.filters import touched
from dashboard.components.queue import Filters, next_undecided, verdict_of
from dashboard.components.text import literal
from dashboard.components.verdicts import badge
from dashboard.state import decisions_of, reviewer, words_of
from reports.content.wording import label, subject, title

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run

SEVERITY_COLORS = {"error": "red", "warning": "orange", "info": "blue"}


@dataclass(frozen=True)
class Page:
    """The queue of a page under review; its session keys start with ``name``."""

    run: Run
    name: str
    verdicts: tuple[str, ...]
    """Verdicts for its findings about images."""
    filters: Filters
    queue: list[str]

    def key(self, part: str) -> str:
        """Return the session key of a part of this page's state."""
        return f"{self.name} {part}"

    @property
    def finding(self) -> str:
        """Id of the current finding: the last one shown, else the first undecided."""
        held = st.session_state.get(self.key("finding"))
        return held if held in self.queue else next_undecided(self.queue, None, self.decided)

    @property
    def words(self) -> Mapping[str, str]:
        """Label -> class words; empty if labels are not codes."""
        return words_of(self.run)

    @cached_property
    def standing(self) -> pd.DataFrame:
        """The current decisions."""
        return decisions_of(self.run).current()

    @cached_property
    def decided(self) -> Mapping[str, str]:
        """Finding id -> current verdict."""
        return verdict_of(self.standing)

    def go(self, finding_id: str) -> None:
        """Move to a finding; the session takes precedence over the address then."""
        st.session_state[self.key("finding")] = finding_id
        touched(self.name)


Extra = Callable[[Page, Mapping[str, Any]], None]
"""Draws the page-specific details of a finding, below the image."""


def plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row of findings with decoded evidence, and None for missing values."""
    known = {str(name): value if isinstance(value, str | int | float) and value == value else None for name, value in record.items()}  # noqa: PLR0124 - NaN
    return {**known, "evidence": json.loads(str(record["evidence"]))}


def badges(record: Mapping[str, Any], verdict: str | None) -> str:
    """Return a finding's severity, kind and verdict as Markdown."""
    color = SEVERITY_COLORS.get(str(record["severity"]), "gray")
    shown = [f":{color}-badge[{literal(title(str(record['severity'])))}]", f":gray-badge[{literal(title(str(record['kind'])))}]"]
    if verdict:
        shown.append(badge(verdict))
    return " ".join(shown)


def change(record: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return given and suggested label as Markdown; for a class or the dataset, its name."""
    if record["sample_id"] is None:
        about = subject(None, record["label"], str(record["subject"]), words)
        return literal(about[:1].upper() + about[1:])
    given, suggested = literal(label(record["label"], words)), record["suggested_label"]
    return f"{given} → **{literal(label(suggested, words))}**" if suggested else given


def undo_button(page: Page) -> None:
    """Draw the button that undoes the reviewer's last action."""
    st.button("Undo `Z`", key="decide_undo", icon=":material/undo:", on_click=_undo, args=(page,), help="Undo your last action")


def _undo(page: Page) -> None:
    undone = decisions_of(page.run).undo(reviewer())
    if not undone:
        st.toast("Nothing to undo.", icon=":material/undo:")
        return
    st.toast(f"Undone: {len(undone):,} decision{'s' if len(undone) > 1 else ''}.", icon=":material/undo:")
    first = undone[0].finding_id
    if first in page.queue:
        page.go(first)

"""One page's list under review, and how a finding is shown on it."""

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
    """One page's list under review; its state lives in the session under keys that begin with ``name``."""

    run: Run
    name: str
    verdicts: tuple[str, ...]
    """That fit its findings about images."""
    filters: Filters
    queue: list[str]

    def key(self, part: str) -> str:
        """Return the session's key of one part of this page's state."""
        return f"{self.name} {part}"

    @property
    def finding(self) -> str:
        """Id of the finding that is shown: where the reviewer was, else the first that nobody decided."""
        held = st.session_state.get(self.key("finding"))
        return held if held in self.queue else next_undecided(self.queue, None, self.decided)

    @property
    def words(self) -> Mapping[str, str]:
        """Label -> its words, where labels are codes."""
        return words_of(self.run)

    @cached_property
    def standing(self) -> pd.DataFrame:
        """The decisions that stand while the page is drawn."""
        return decisions_of(self.run).current()

    @cached_property
    def decided(self) -> Mapping[str, str]:
        """Finding id -> the verdict that stands while the page is drawn."""
        return verdict_of(self.standing)

    def go(self, finding_id: str) -> None:
        """Move to a finding; what the address says is older then."""
        st.session_state[self.key("finding")] = finding_id
        touched(self.name)


Extra = Callable[[Page, Mapping[str, Any]], None]
"""Draws what only one page knows of a finding, below the image."""


def plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row of findings with its evidence decoded, and None where it has no value."""
    known = {str(name): thing if isinstance(thing, str | int | float) and thing == thing else None for name, thing in record.items()}  # noqa: PLR0124 - NaN
    return {**known, "evidence": json.loads(str(record["evidence"]))}


def badges(record: Mapping[str, Any], verdict: str | None) -> str:
    """Return a finding's severity, kind and verdict as Markdown."""
    color = SEVERITY_COLORS.get(str(record["severity"]), "gray")
    shown = [f":{color}-badge[{literal(title(str(record['severity'])))}]", f":gray-badge[{literal(title(str(record['kind'])))}]"]
    if verdict:
        shown.append(badge(verdict, of_image=record["sample_id"] is not None))
    return " ".join(shown)


def change(record: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return given and suggested label as Markdown; of a class or the dataset, which it is."""
    if record["sample_id"] is None:
        about = subject(None, record["label"], str(record["subject"]), words)
        return literal(about[:1].upper() + about[1:])
    given, suggested = literal(label(record["label"], words)), record["suggested_label"]
    return f"{given} → **{literal(label(suggested, words))}**" if suggested else given


def undo_button(page: Page) -> None:
    """Draw the button that takes back the reviewer's last action."""
    st.button("Undo `Z`", key="decide_undo", icon=":material/undo:", on_click=_undo, args=(page,), help="Take back your last action")


def _undo(page: Page) -> None:
    taken_back = decisions_of(page.run).undo(reviewer())
    if not taken_back:
        st.toast("You have decided nothing that could be taken back.", icon=":material/undo:")
        return
    st.toast(f"Taken back: {len(taken_back):,} decision{'s' if len(taken_back) > 1 else ''}.", icon=":material/undo:")
    first = taken_back[0].finding_id
    if first in page.queue:
        page.go(first)

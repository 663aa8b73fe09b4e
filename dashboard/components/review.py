"""The review panel of a page: one finding at a time or a grid. It runs in the browser; `dashboard.api` answers it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.api.families import checks_of
from dashboard.api.queues import IMAGES
from dashboard.api.verdicts import NAMES
from dashboard.components.text import reasons
from dashboard.state import in_address, page_at, reviewer, stamp, summary_of

if TYPE_CHECKING:
    from audit.checks.base import Family
    from audit.run.run import Run

_PANEL = Path(__file__).parents[1] / "panel"
_PAGE = """<style>
.stMainBlockContainer { padding: 0.5rem 1.5rem 0.5rem }
@media (min-width: 761px) { .stAppHeader { height: 0; min-height: 0 } }
@media (max-width: 760px) { .stMainBlockContainer { padding: 0.75rem 0.75rem 1rem } .stAppHeader { background: none; width: 3rem } }
</style>"""


def review(run: Run, page: Family, title: str, notes: Sequence[str] = ()) -> None:
    """Draw the findings of a page, with the keys and buttons to decide.

    Args:
        run: a finished run.
        page: family of the checks whose findings are shown; checks that did not run are left out.
        title: heading of the page.
        notes: what a reviewer should know about the page, as plain text.
    """
    checks = checks_of(run, page)
    skipped = [check for check in summary_of(run).skipped if check.name in checks]
    if not run.findings_index["check"].isin(checks).any():
        st.title(title)
        st.success("No findings.", icon=":material/task_alt:")
        if skipped:
            st.markdown(f"Checks that did not run:\n{reasons(skipped)}")
        return
    panel(run, page, title, notes)


def panel(run: Run, page: str, title: str, notes: Sequence[str] = ()) -> None:
    """Draw the panel of a queue; see `dashboard.api.queues`.

    Args:
        run: a finished run.
        page: a family of checks, `IMAGES` or ``map``.
        title: heading of the page.
        notes: plain text.
    """
    st.html(_PAGE)
    component = st.components.v2.component(
        "imagenet_audit_panel", html='<div class="ia"></div>', js=_text("mount.js"), css=_text("panel.css"), isolate_styles=False
    )
    data = {
        "page": page,
        "title": title,
        "notes": list(notes),
        "stamp": str(stamp(run)),
        "reviewer": reviewer(),
        "verdicts": NAMES,
        "address": in_address(),
        "empty": "No image." if page == IMAGES else "No findings.",
    }
    result = component(key=f"panel {page}", data=data, height="content", on_link_change=lambda: None)
    link = result.link
    if link and (target := page_at(link["page"])) is not None:
        st.switch_page(target, query_params=link["query"])


@lru_cache(maxsize=4)
def _text(name: str) -> str:
    return (_PANEL / name).read_text("utf-8")

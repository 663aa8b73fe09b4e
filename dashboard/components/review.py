"""A page of findings: its list, its filters and its address; one finding at a time is drawn by `single`, many by `grid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.components import filters
from dashboard.components.grid import grid
from dashboard.components.page import Page
from dashboard.components.queue import UNDECIDED, Filters, build
from dashboard.components.single import single
from dashboard.components.text import reasons
from dashboard.components.verdicts import OF_LABELS
from dashboard.state import decisions_of, precision_now, stamp, summary_of

if TYPE_CHECKING:
    from audit.run.run import Run
    from dashboard.components.page import Extra


def review(
    run: Run, name: str, checks: Sequence[str], verdicts: tuple[str, ...] = OF_LABELS, extra: Extra | None = None, *, whole_first: bool = False
) -> None:
    """Draw filters, the findings of some checks, and what decides about them.

    Args:
        run: a finished run.
        name: of the page; its state is kept under it.
        checks: whose findings are shown; those that did not run are passed over.
        verdicts: that fit the page's findings about images.
        extra: draws what only this page knows of a finding, below the image.
        whole_first: findings about classes and the dataset come before those about images.
    """
    found = filters.counts(str(run.path), stamp(run), run)
    present = [check for check in checks if check in found]
    if not present:
        st.success("Nothing was found here.", icon=":material/task_alt:")
        skipped = [check for check in summary_of(run).skipped if check.name in checks]
        if skipped:
            st.markdown(f"Not looked for:\n{reasons(skipped)}")
        return
    options = filters.choices(run, present)
    asked = filters.recall(name, options)
    page = _page(run, name, present, options, verdicts, whole_first=whole_first)
    if asked is not None and asked not in page.queue and _there(run, asked, present):
        filters.clear(name)
        page = _page(run, name, present, options, verdicts, whole_first=whole_first)
    if asked in page.queue:
        st.session_state[f"{name} finding"] = asked
        st.session_state[f"{name} mode"] = filters.ONE
    elif asked is not None:
        st.warning("The finding that the address names is not among these: it may be of another scan.", icon=":material/link_off:")
    filters.draw(run, name, options, page.words)
    shown = page.finding if page.queue else ""
    filters.into_address(name, options, finding=shown, sheet=st.session_state[f"{name} sheet"])
    if not shown:
        _nothing_left(page)
        return
    st.session_state[f"{name} finding"] = shown
    if st.session_state[f"{name} mode"] == filters.MANY:
        grid(page)
    else:
        single(page, shown, extra)


def _page(run: Run, name: str, checks: Sequence[str], options: Mapping[str, Sequence[str]], verdicts: tuple[str, ...], *, whole_first: bool) -> Page:
    wanted = filters.chosen(name, options, checks)
    return Page(run, name, verdicts, wanted, _queue(run, name, wanted, whole_first=whole_first))


def _queue(run: Run, name: str, wanted: Filters, *, whole_first: bool) -> list[str]:
    """Return the page's list; it is put in order when the filters change, not at every decision, so that it does not move under the reviewer."""
    held = st.session_state.get(f"{name} queue")
    made_of = (wanted, stamp(run))
    if held is None or held[0] != made_of:
        if held is not None:
            st.session_state[f"{name} sheet"] = 0
        held = (made_of, build(run.findings_index, wanted, decisions_of(run).current(), precision_now(run), whole_first=whole_first))
        st.session_state[f"{name} queue"] = held
    queue: list[str] = held[1]
    return queue


def _there(run: Run, finding_id: str, checks: Sequence[str]) -> bool:
    index = run.findings_index
    return bool(((index["finding_id"] == finding_id) & index["check"].isin(checks)).any())


def _nothing_left(page: Page) -> None:
    if page.filters.state == UNDECIDED:
        st.success("Everything here is decided. See **Decisions & export** for what follows from it.", icon=":material/task_alt:")
    else:
        st.info("No finding fits these filters: take one away, or show all.", icon=":material/filter_alt_off:")

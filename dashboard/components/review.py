"""A page of findings: queue, filters and address. `single` draws one finding at a time, `grid` many."""

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
    """Draw the filters and findings of some checks, with the buttons to decide.

    Args:
        run: a finished run.
        name: page name; its session keys start with it.
        checks: checks whose findings are shown; checks that did not run are ignored.
        verdicts: verdicts for the page's findings about images.
        extra: draws page-specific details of a finding, below the image.
        whole_first: put findings about classes and the dataset before those about images.
    """
    found = filters.counts(str(run.path), stamp(run), run)
    present = [check for check in checks if check in found]
    if not present:
        st.success("No findings.", icon=":material/task_alt:")
        skipped = [check for check in summary_of(run).skipped if check.name in checks]
        if skipped:
            st.markdown(f"Checks that did not run:\n{reasons(skipped)}")
        return
    options = filters.choices(run, present)
    linked = filters.recall(name, options)
    page = _page(run, name, present, options, verdicts, whole_first=whole_first)
    if linked is not None and linked not in page.queue and _exists(run, linked, present):
        filters.clear(name)
        page = _page(run, name, present, options, verdicts, whole_first=whole_first)
    if linked in page.queue:
        st.session_state[f"{name} finding"] = linked
        st.session_state[f"{name} mode"] = filters.ONE
    elif linked is not None:
        st.warning("The finding in this link does not exist in this run. It may be from another scan.", icon=":material/link_off:")
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
    """Return the page's queue; it is sorted again when the filters change, not after each decision, so that findings do not move during a review."""
    held = st.session_state.get(f"{name} queue")
    key = (wanted, stamp(run))
    if held is None or held[0] != key:
        if held is not None:
            st.session_state[f"{name} sheet"] = 0
        held = (key, build(run.findings_index, wanted, decisions_of(run).current(), precision_now(run), whole_first=whole_first))
        st.session_state[f"{name} queue"] = held
    queue: list[str] = held[1]
    return queue


def _exists(run: Run, finding_id: str, checks: Sequence[str]) -> bool:
    index = run.findings_index
    return bool(((index["finding_id"] == finding_id) & index["check"].isin(checks)).any())


def _nothing_left(page: Page) -> None:
    if page.filters.state == UNDECIDED:
        st.success("All findings are decided. Go to **Decisions & export** to download the results.", icon=":material/task_alt:")
    else:
        st.info("No finding matches these filters. Remove a filter, or show all findings.", icon=":material/filter_alt_off:")

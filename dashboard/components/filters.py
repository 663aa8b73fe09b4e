"""State, view and filters of a page of findings, kept in the session and in the page's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.tables import SEVERITIES
from dashboard.components.queue import ALL, STATES, Filters
from dashboard.components.verdicts import KEYS, verdict_name
from dashboard.state import address, in_address, stamp
from reports.content.wording import check_title, label, title

if TYPE_CHECKING:
    from audit.run.run import Run

ONE, MANY = MODES = ("One at a time", "Grid")

_PARTS = {
    "kinds": ("Kind", "kind"),
    "severities": ("Severity", "severity"),
    "labels": ("Class", "label"),
    "suggested": ("Suggested class", "suggested_label"),
    "splits": ("Split", "split"),
    "verdicts": ("Verdict", ""),
}
"""Filter -> its label, and its column of the findings."""


def recall(name: str, options: Mapping[str, Sequence[str]]) -> str | None:
    """Restore the page's state from its address after a link, a reload or the back button; otherwise the session's state stays.

    Args:
        name: page name; its session keys start with it.
        options: as `choices` returns them; other values in the address are ignored.

    Returns:
        The id of the finding in the address, if any.
    """
    now = in_address()
    moved = st.session_state.pop(f"{name} moved", False)  # the browser's address may be older than the controls
    followed = bool(now) and not moved and now != st.session_state.get(f"{name} address")
    if followed or f"{name} state" not in st.session_state:
        for part, segments, default in (("state", STATES, ALL), ("mode", MODES, ONE)):
            wanted = now.get(part, [default])[-1]
            st.session_state[f"{name} {part}"] = wanted if wanted in segments else default
        for part, among in options.items():
            st.session_state[f"{name} {part}"] = [value for value in now.get(part, []) if value in among]
        sheet = now.get("sheet", [""])[-1]
        st.session_state[f"{name} sheet"] = int(sheet) - 1 if sheet.isdecimal() and int(sheet) else 0
    return now["finding"][-1] if followed and "finding" in now else None


def touched(name: str) -> None:
    """Record that the page's controls were used, so that they take precedence over the address."""
    st.session_state[f"{name} moved"] = True


def choices(run: Run, checks: Sequence[str]) -> dict[str, list[str]]:
    """Return filter -> its options, for the findings of some checks."""
    found: dict[str, list[str]] = _choices(str(run.path), stamp(run), tuple(checks), run)
    return found


@st.cache_data(max_entries=4, show_spinner=False)
def counts(path: str, changed: int, _run: Run) -> dict[str, int]:
    """Return check -> its number of findings; checks without findings are left out."""
    del path, changed
    return {str(check): int(number) for check, number in _run.findings_index["check"].value_counts().items()}


@st.cache_data(max_entries=16, show_spinner=False)
def _choices(path: str, changed: int, checks: tuple[str, ...], _run: Run) -> dict[str, list[str]]:
    del path, changed
    index = _run.findings_index
    own = index[index["check"].isin(checks)]
    found = {part: sorted(str(value) for value in own[column].dropna().unique()) for part, (_, column) in _PARTS.items() if column}
    found["severities"] = [level for level in reversed(SEVERITIES) if level in found["severities"]]
    return {"checks": list(checks), **found, "verdicts": [*KEYS, "disputed"]}


def chosen(name: str, options: Mapping[str, Sequence[str]], checks: Sequence[str]) -> Filters:
    """Return the filters of the session."""
    picked = {part: tuple(st.session_state[f"{name} {part}"]) for part in options}
    return Filters(**{**picked, "checks": picked["checks"] or tuple(checks)}, state=st.session_state[f"{name} state"])


def clear(name: str) -> None:
    """Reset all filters and the state."""
    for part in ("checks", *_PARTS):
        st.session_state[f"{name} {part}"] = []
    st.session_state[f"{name} state"] = ALL


def _clear(name: str) -> None:
    clear(name)
    touched(name)


def draw(run: Run, name: str, options: Mapping[str, Sequence[str]], words: Mapping[str, str]) -> None:
    """Draw the controls. `chosen` reads them before, so a change takes effect at the next rerun."""
    on = sum(bool(st.session_state[f"{name} {part}"]) for part in _PARTS)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for text, segments, part, shown in (("Show", [*reversed(STATES)], "state", str.capitalize), ("View", MODES, "mode", str)):
            st.segmented_control(text, segments, key=f"{name} {part}", format_func=shown, required=True, **_kept(name))
        with st.popover(f"Filters ({on})" if on else "Filters", icon=":material/filter_alt:", key=f"{name} filters"):
            for part, (text, _) in _PARTS.items():
                if options[part]:
                    show: Any = {"kinds": title, "severities": title, "verdicts": verdict_name}.get(part, lambda value: label(value, words))
                    st.multiselect(text, options[part], key=f"{name} {part}", format_func=show, placeholder="All", **_kept(name))
        if on:
            st.button("Clear filters", key=f"{name} clear", icon=":material/filter_alt_off:", on_click=_clear, args=(name,))
    if len(options["checks"]) > 1:
        numbers = counts(str(run.path), stamp(run), run)
        st.pills(
            "Checks",
            options["checks"],
            selection_mode="multi",
            key=f"{name} checks",
            format_func=lambda check: f"{check_title(check)} ({numbers[check]:,})",
            **_kept(name),
        )


def into_address(name: str, options: Mapping[str, Sequence[str]], *, finding: str, sheet: int) -> None:
    """Write the page's state to its address."""
    state, mode = st.session_state[f"{name} state"], st.session_state[f"{name} mode"]
    filters = {part: st.session_state[f"{name} {part}"] for part in options}
    view = {"mode": mode, "sheet": str(sheet + 1) if sheet else ""} if mode == MANY else {"finding": finding}
    st.session_state[f"{name} address"] = address(state="" if state == ALL else state, **view, **filters)


def _kept(name: str) -> dict[str, Any]:
    return {"persist_state": "session", "on_change": touched, "args": (name,)}

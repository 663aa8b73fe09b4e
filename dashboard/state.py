"""State of a session: the run (read once for all sessions), its decisions, the reviewer and the address of the page."""

from __future__ import annotations

import getpass
import threading
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from audit.review.agreement import precision
from audit.review.decisions import Decisions
from audit.run.run import RECORD, Run, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from reports.content.summary import Summary

PAGES = "pages"
"""Session key of the links: check, or ``/`` and an address -> page."""
_SENT = "address sent"
_REVIEWER = "reviewer"
_COUNTING = threading.Lock()
"""Prevents two sessions from summarizing the same run at once."""


def open_finished(path: str, source: str | None = None) -> Run:
    """Open a run once for all sessions; open it again after a scan has changed it. ``source`` is where the user says that its dataset is.

    Raises:
        RunError: the folder is not a run, or its scan is not finished.
    """
    return _opened(path, stamp(open_run(path)), source)


@lru_cache(maxsize=4)
def _opened(path: str, changed: int, source: str | None = None) -> Run:
    del changed
    return open_run(path, source=source)


def stamp(run: Run) -> int:
    """Return the time at which a scan last wrote the run: the key of everything cached about it."""
    return (run.tables / RECORD).stat().st_mtime_ns


def words_of(run: Run) -> Mapping[str, str]:
    """Return label -> class words; empty if labels are not codes."""
    words: Mapping[str, str] = run.record.get("class_words") or {}
    return words


def page_at(target: str) -> Any:
    """Return the page of a check (by its name) or at an address (as ``/search``), to link to; None if there is no such page."""
    return st.session_state.get(PAGES, {}).get(target)


def decisions_of(run: Run) -> Decisions:
    """Return this session's reader and writer of the run's decisions."""
    key = f"decisions {run.path}"
    if key not in st.session_state:
        st.session_state[key] = Decisions(run.path)
    return cast("Decisions", st.session_state[key])


def precision_now(run: Run) -> pd.DataFrame:
    """Return the precision of each check according to the current decisions."""
    return precision(decisions_of(run).current(), run.findings_index)


def summary_of(run: Run) -> Summary:
    """Return the summary of the run; computed again when the run or its decisions change."""
    log = run.path / "decisions.jsonl"
    with _COUNTING:
        return _summary(str(run.path), stamp(run), log.stat().st_mtime_ns if log.exists() else 0)


@lru_cache(maxsize=8)
def _summary(path: str, changed: int, decided: int) -> Summary:
    from reports.content.summary import summarize

    del decided
    return summarize(_opened(path, changed))


def reviewer() -> str:
    """Return the reviewer: as entered, else from the address of the page, else the user name."""
    if _REVIEWER not in st.session_state:
        st.session_state[_REVIEWER] = str(st.query_params.get(_REVIEWER, "")).strip() or _user()
    return str(st.session_state[_REVIEWER]).strip() or _user()


def reviewer_input() -> None:
    """Draw the field of the reviewer's name. The name is part of the page's address, so it survives a reload."""
    reviewer()
    help_ = "Stored with every decision. Several reviewers can work at the same time."
    st.text_input("Reviewer", key=_REVIEWER, max_chars=80, persist_state="session", help=help_)
    if reviewer() != _user():
        st.query_params[_REVIEWER] = reviewer()
    elif _REVIEWER in st.query_params:
        del st.query_params[_REVIEWER]


def in_address() -> dict[str, list[str]]:
    """Return the query parameters of the page, without the reviewer."""
    return {name: st.query_params.get_all(name) for name in st.query_params if name != _REVIEWER}


def address(**shown: str | Sequence[str]) -> dict[str, list[str]]:
    """Write what a page shows to its address, so that it survives a reload and can be shared; empty values are left out.

    Returns:
        What `in_address` returns from now on.
    """
    wanted = {name: [values] if isinstance(values, str) else list(values) for name, values in shown.items() if values}
    # A link to the current page changes the query parameters but not the address in the browser, so compare with the last written ones too.
    if in_address() != wanted or st.session_state.get(_SENT) != wanted:
        st.session_state[_SENT] = wanted
        who = {_REVIEWER: [st.query_params[_REVIEWER]]} if _REVIEWER in st.query_params else {}
        st.query_params.from_dict({**wanted, **who})
    return wanted


def _user() -> str:
    with suppress(Exception):  # there may be no user name, as in a container
        return getpass.getuser()
    return "reviewer"

"""What a session holds: the run, read once for all sessions, its decisions, and who reviews."""

from __future__ import annotations

import getpass
import threading
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from audit.errors import RunError
from audit.review.agreement import precision
from audit.review.decisions import Decisions
from audit.run.run import RECORD, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from reports.content.summary import Summary

PAGES = "pages"
"""In the session: check, or ``/`` and an address -> page."""
_SENT = "address sent"
_REVIEWER = "reviewer"
_COUNTING = threading.Lock()
"""Two sessions never count the same run at once."""


def open_finished(path: str) -> Run:
    """Open a run once for all sessions; opened anew when a scan has changed it.

    Raises:
        RunError: there is no run, or its scan is not finished.
    """
    run = Run(path)
    if not run.record.get("finished"):
        raise RunError(path, "its scan is not finished", "run the same scan command again: it continues where it was")
    return _opened(path, stamp(run))


@lru_cache(maxsize=4)
def _opened(path: str, changed: int) -> Run:
    del changed
    return Run(path)


def stamp(run: Run) -> int:
    """Return what changes when a scan writes the run anew: the key of everything cached of it."""
    return (run.path / RECORD).stat().st_mtime_ns


def words_of(run: Run) -> Mapping[str, str]:
    """Return label -> its words, where labels are codes."""
    words: Mapping[str, str] = run.record.get("class_words") or {}
    return words


def page_at(place: str) -> Any:
    """Return the page of a check (by its name) or at an address (as ``/search``), to link to; None where there is none."""
    return st.session_state.get(PAGES, {}).get(place)


def decisions_of(run: Run) -> Decisions:
    """Return this session's reader and writer of the run's decisions."""
    key = f"decisions {run.path}"
    if key not in st.session_state:
        st.session_state[key] = Decisions(run.path)
    return cast("Decisions", st.session_state[key])


def precision_now(run: Run) -> pd.DataFrame:
    """Return how often each check was right, by the decisions that stand now."""
    return precision(decisions_of(run).current(), run.findings_index)


def summary_of(run: Run) -> Summary:
    """Return the run in numbers; computed anew when it or its decisions change."""
    log = run.path / "decisions.jsonl"
    with _COUNTING:
        return _summary(str(run.path), stamp(run), log.stat().st_mtime_ns if log.exists() else 0)


@lru_cache(maxsize=8)
def _summary(path: str, changed: int, decided: int) -> Summary:
    from reports.content.summary import summarize

    del decided
    return summarize(_opened(path, changed))


def reviewer() -> str:
    """Return who decides: as entered, as the address of the page says, or the user's name."""
    if _REVIEWER not in st.session_state:
        st.session_state[_REVIEWER] = str(st.query_params.get(_REVIEWER, "")).strip() or _user()
    return str(st.session_state[_REVIEWER]).strip() or _user()


def reviewer_input() -> None:
    """Draw the field of the reviewer's name. The name is kept in the page's address, so that it survives a reload."""
    reviewer()
    help_ = "Kept with every decision. Two reviewers may work at once."
    st.text_input("Reviewer", key=_REVIEWER, max_chars=80, persist_state="session", help=help_)
    if reviewer() != _user():
        st.query_params[_REVIEWER] = reviewer()
    elif _REVIEWER in st.query_params:
        del st.query_params[_REVIEWER]


def in_address() -> dict[str, list[str]]:
    """Return what the page's address says of the page."""
    return {name: st.query_params.get_all(name) for name in st.query_params if name != _REVIEWER}


def address(**shown: str | Sequence[str]) -> dict[str, list[str]]:
    """Put what a page shows into its address, so that it survives a reload and can be sent to a colleague; what is empty is left out.

    Returns:
        What `in_address` says from now on.
    """
    wanted = {name: [values] if isinstance(values, str) else list(values) for name, values in shown.items() if values}
    # A link to the page that is shown already changes what the page is told, not what the browser shows: that is written too.
    if in_address() != wanted or st.session_state.get(_SENT) != wanted:
        st.session_state[_SENT] = wanted
        who = {_REVIEWER: [st.query_params[_REVIEWER]]} if _REVIEWER in st.query_params else {}
        st.query_params.from_dict({**wanted, **who})
    return wanted


def _user() -> str:
    with suppress(Exception):  # no user name is known, as in a container
        return getpass.getuser()
    return "reviewer"

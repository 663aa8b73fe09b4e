"""Decisions, agreement of reviewers, precision of checks, exports and the import of decisions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from audit.errors import AuditError
from audit.exports import exports
from audit.review.agreement import agreement
from audit.review.consensus import consensus_of_run, groups_gone
from audit.review.decision_files import new_decisions, read_decisions, write_decisions
from dashboard.api.verdicts import verdict_name
from dashboard.components.text import literal, short
from dashboard.state import decisions_of, precision_now, reviewer, summary_of, words_of
from reports.content.wording import check_title, label

if TYPE_CHECKING:
    from audit.run.run import Run
    from reports.content.summary import Summary

_SHOWN = 1000
_GROUPS = 10
_IMPORTED = "decisions imported"
"""Session key of the message about the last import; the page is drawn again after an import, so that its numbers are current."""


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Decisions & export")
    current = decisions_of(run).current()
    found = summary_of(run)
    with st.container(horizontal=True):
        st.metric("Decisions", f"{len(current):,}", border=True)
        for action, number in found.decisions.images.items():
            st.metric(f"Images: {verdict_name(action)}", f"{number:,}", border=True)
    if current.empty:
        st.info("No decisions yet. Start on **Overview** with the ten most important findings.", icon=":material/rate_review:")
    else:
        _warn_of_lost_images(run, current)
    st.subheader("Download")
    _downloads(run, found)
    if not current.empty:
        st.subheader("Precision of each check")
        _precision(run)
        st.subheader("Reviewer agreement")
        _agreement(current)
        st.subheader("All decisions")
        _table(current, words_of(run))
    st.subheader("Import decisions")
    _import(run)


def _warn_of_lost_images(run: Run, current: pd.DataFrame) -> None:
    """Warn of duplicate sets whose images are all dropped."""
    settled = consensus_of_run(run, current)
    gone = groups_gone(run, settled.loc[settled["action"] == "drop", "row"].to_numpy(np.int64))
    if gone:
        shown = gone[:_GROUPS]
        names = run.columns("sample_id", rows=np.concatenate(shown))["sample_id"].tolist()
        bounds = np.cumsum([0, *(len(rows) for rows in shown)])
        lines = [", ".join(literal(short(name, 60)) for name in names[start:end]) for start, end in pairwise(bounds.tolist())]
        more = f"\n- and {len(gone) - _GROUPS:,} more" if len(gone) > _GROUPS else ""
        st.warning(
            f"All copies are dropped in **{len(gone):,}** duplicate sets. Keep one image of each: undo its decision, or mark it as not a problem.\n- "
            + "\n- ".join(lines)
            + more,
            icon=":material/content_copy:",
        )


def _downloads(run: Run, found: Summary) -> None:
    st.caption("Exports are new files; the dataset itself does not change.")
    files = {what: known for what, known in exports().items() if not known.writes_folder}
    leaks = run.record.get("checks", {}).get("leakage", {})
    why_not = {} if leaks.get("state") == "done" else {"clean-split": leaks.get("reason") or "the check leakage did not run"}
    images = found.decisions.images
    counts = {"corrected-labels": images.get("relabel", 0), "drop-list": images.get("drop", 0)}
    counts |= {"clean-split": sum(found.leaving.values())} if not why_not else {}
    with st.container(horizontal=True):
        for what, known in files.items():
            reason = why_not.get(what)
            st.download_button(
                f"{known.title} ({counts[what]:,})" if what in counts else known.title,
                _maker(run, what, known.endings[0]),
                f"{what}{known.endings[0]}",
                key=f"export {what}",
                icon=":material/download:",
                help=f"Not available: {literal(reason)}" if reason else known.summary,
                disabled=reason is not None,
                on_click="ignore",
            )
        st.download_button(
            f"Decisions ({found.decisions.decisions:,})",
            lambda: _decisions(run),
            "decisions.jsonl",
            key="export decisions",
            icon=":material/download:",
            on_click="ignore",
        )
    for what, reason in why_not.items():
        st.caption(f"{files[what].title}: {literal(reason)}.")


def exported(run: Run, what: str, ending: str) -> bytes:
    """Return one export as `imagenet-audit export` writes it."""
    from audit.exports import export

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{what}{ending}"
        export(run, what, path)
        return path.read_bytes()


def _maker(run: Run, what: str, ending: str) -> Callable[[], bytes]:
    return lambda: exported(run, what, ending)


def _decisions(run: Run) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        write_decisions(path, decisions_of(run).current())
        return path.read_bytes()


def _precision(run: Run) -> None:
    measured = precision_now(run)
    decided = measured[measured["decided"] > 0]
    if decided.empty:
        st.caption("No finding has a definite decision yet.")
        return
    st.dataframe(
        decided.assign(check=decided["check"].map(check_title)),
        hide_index=True,
        column_config={
            "check": "Check",
            "decided": "Decided",
            "right": "Right",
            **{
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("precision", "Precision"), ("low", "Lower bound (95%)"), ("high", "Upper bound (95%)"))
            },
        },
    )
    st.caption("Of the findings decided so far, which are usually the worst ones. Checks with low precision are ranked lower in every list.")


def _agreement(current: pd.DataFrame) -> None:
    agreed = agreement(current)
    if not agreed.subjects:
        st.caption("No finding was decided by two reviewers yet. A second reviewer enters another name in the sidebar.")
        return
    alpha = "" if agreed.alpha is None else f" Krippendorff's alpha: **{agreed.alpha:.2f}** (1 = perfect agreement, 0 = chance)."
    st.markdown(f"Decided by two or more reviewers: **{agreed.subjects:,}** (disputed: **{agreed.disputed:,}**).{alpha}")
    st.dataframe(
        agreed.pairs,
        hide_index=True,
        column_config={
            "reviewer_a": "Reviewer A",
            "reviewer_b": "Reviewer B",
            "both": "Both decided",
            "same": "Same verdict",
            "kappa": "Cohen's kappa",
            "agreement": st.column_config.NumberColumn("Agreement", format="percent"),
        },
        placeholder="",
    )


def _table(current: pd.DataFrame, words: Mapping[str, str]) -> None:
    shown = current.iloc[::-1].head(_SHOWN)
    table = {
        "When": pd.to_datetime(shown["time"], utc=True, format="ISO8601", errors="coerce").dt.strftime("%Y-%m-%d %H:%M UTC"),
        "Reviewer": shown["reviewer"],
        "Verdict": [verdict_name(verdict) for verdict in shown["verdict"]],
        "Image": shown["sample_id"].fillna("a class or the dataset"),
        "Given label": [label(name, words) if isinstance(name, str) else None for name in shown["given_label"]],
        "New label": [label(name, words) if isinstance(name, str) else None for name in shown["label"]],
        "Check": [check_title(name) if isinstance(name, str) else None for name in shown["check"]],
        "Note": shown["note"],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, placeholder="")
    if len(current) > _SHOWN:
        st.caption(f"Latest {_SHOWN:,} of {len(current):,}. The download contains all.")


def _import(run: Run) -> None:
    if message := st.session_state.pop(_IMPORTED, None):
        st.success(message, icon=":material/task_alt:")
    given = st.file_uploader("Review sheet or exported decisions (.csv, .jsonl)", type=["csv", "jsonl"], key="import file")
    if given is None or not st.button("Import", key="import", icon=":material/upload:"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"decisions{Path(given.name).suffix.lower()}"
        path.write_bytes(given.getvalue())
        try:
            fresh = new_decisions(read_decisions(path, run, reviewer=reviewer()), decisions_of(run).current())
        except AuditError as error:
            where = error.where.replace(str(path), given.name)
            name, _, line = where.rpartition(":")
            where = f"{name}, line {line}" if line.isdecimal() else where
            st.error(literal(f"{where}: {error.problem}; {error.hint}"))
            return
    for name in sorted({decision.reviewer for decision in fresh}):
        decisions_of(run).append([decision for decision in fresh if decision.reviewer == name])
    st.session_state[_IMPORTED] = f"Imported {len(fresh):,} decisions from {literal(given.name)}."
    st.rerun()

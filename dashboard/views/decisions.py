"""What was decided, by whom, how far reviewers agree, how often checks are right, and the files that follow from it."""

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
from audit.review.agreement import agreement
from audit.review.consensus import consensus_of_run, groups_gone
from audit.review.decision_files import new_decisions, read_decisions, write_decisions
from dashboard.state import decisions_of, precision_now, reviewer, summary_of, words_of
from dashboard.text import literal, short
from dashboard.verdicts import called
from reports.wording import label, title

if TYPE_CHECKING:
    from audit.run.run import Run
    from reports.summary import Summary

EXPORTS = {
    "corrected-labels": ("Corrected labels", "csv", "Images to relabel, with their new label"),
    "drop-list": ("Drop list", "csv", "Images to leave out"),
    "cleaned-manifest": ("Cleaned manifest", "csv", "Every image that stays, with its settled label"),
    "clean-split": ("Clean split", "csv", "Splits without leakage"),
    "label-studio": ("Label Studio", "json", "Tasks for Label Studio"),
    "croissant": ("Croissant", "json", "MLCommons metadata with the audit's figures"),
}
"""Kind of ``imagenet-audit export`` -> name, ending and meaning."""

_SHOWN = 1000
_GROUPS = 10
_TOLD = "decisions told"
"""In the session: what the last import did; the page is drawn anew after it, so that its numbers are those of now."""


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Decisions & export")
    standing = decisions_of(run).current()
    found = summary_of(run)
    with st.container(horizontal=True):
        st.metric("Decisions", f"{len(standing):,}", border=True)
        for action, number in found.decisions.images.items():
            st.metric(f"Images: {called(action)}", f"{number:,}", border=True)
    if standing.empty:
        st.info(
            "Nothing is decided yet. Begin on **Overview**: the ten findings there are the ones most worth your time.", icon=":material/rate_review:"
        )
    else:
        _gone(run, standing)
    st.subheader("Download")
    _downloads(run, found)
    if not standing.empty:
        st.subheader("How often each check is right")
        _precision(run)
        st.subheader("Agreement of reviewers")
        _agreement(standing)
        st.subheader("All decisions")
        _table(standing, words_of(run))
    st.subheader("Take over decisions")
    _import(run)


def _gone(run: Run, standing: pd.DataFrame) -> None:
    """Warn of pictures of which every copy was dropped."""
    settled = consensus_of_run(run, standing)
    gone = groups_gone(run, settled.loc[settled["action"] == "drop", "row"].to_numpy(np.int64))
    if gone:
        shown = gone[:_GROUPS]
        names = run.columns("sample_id", rows=np.concatenate(shown))["sample_id"].tolist()
        places = np.cumsum([0, *(len(rows) for rows in shown)])
        lines = [", ".join(literal(short(name, 60)) for name in names[start:end]) for start, end in pairwise(places.tolist())]
        more = f"\n- and {len(gone) - _GROUPS:,} more" if len(gone) > _GROUPS else ""
        st.warning(
            f"Of **{len(gone):,}** pictures every copy is dropped, and none stays. Take one of each back, or decide to keep it:\n- "
            + "\n- ".join(lines)
            + more,
            icon=":material/content_copy:",
        )


def _downloads(run: Run, found: Summary) -> None:
    st.caption("The dataset itself is never touched.")
    leaks = run.record.get("checks", {}).get("leakage", {})
    why_not = {} if leaks.get("state") == "done" else {"clean-split": leaks.get("reason") or "the check leakage did not run"}
    images = found.decisions.images
    counts = {"corrected-labels": images.get("relabel", 0), "drop-list": images.get("drop", 0)}
    counts |= {"clean-split": sum(found.leaving.values())} if not why_not else {}
    with st.container(horizontal=True):
        for what, (name, ending, meaning) in EXPORTS.items():
            reason = why_not.get(what)
            st.download_button(
                f"{name} ({counts[what]:,})" if what in counts else name,
                _maker(run, what, ending),
                f"{what}.{ending}",
                key=f"export {what}",
                icon=":material/download:",
                help=f"Not possible: {literal(reason)}" if reason else meaning,
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
        st.caption(f"{EXPORTS[what][0]}: {literal(reason)}.")


def exported(run: Run, what: str, ending: str) -> bytes:
    """Return one export as `imagenet-audit export` writes it."""
    from audit.exports import export

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{what}.{ending}"
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
        st.caption("No finding has a clear decision yet.")
        return
    st.dataframe(
        decided.assign(check=decided["check"].map(title)),
        hide_index=True,
        column_config={
            "check": "Check",
            "decided": "Decided",
            "right": "Right",
            **{
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("precision", "Precision"), ("low", "From"), ("high", "To (95% interval)"))
            },
        },
    )
    st.caption("Among the findings decided so far, which are the worst ones. Checks that are often wrong come later in every list.")


def _agreement(standing: pd.DataFrame) -> None:
    agreed = agreement(standing)
    if not agreed.subjects:
        st.caption("Nothing was decided by two reviewers yet. A second reviewer enters another name in the side bar.")
        return
    alpha = "" if agreed.alpha is None else f" Krippendorff's alpha: **{agreed.alpha:.2f}** (1 = always, 0 = as by chance)."
    st.markdown(f"Decided by two or more: **{agreed.subjects:,}**, of them disputed: **{agreed.disputed:,}**.{alpha}")
    st.dataframe(
        agreed.pairs,
        hide_index=True,
        column_config={
            "reviewer_a": "Reviewer",
            "reviewer_b": "and",
            "both": "Both decided",
            "same": "Alike",
            "kappa": "Cohen's kappa",
            "agreement": st.column_config.NumberColumn("Agreement", format="percent"),
        },
        placeholder="",
    )


def _table(standing: pd.DataFrame, words: Mapping[str, str]) -> None:
    shown = standing.iloc[::-1].head(_SHOWN)
    of_image = shown["sample_id"].notna()
    table = {
        "When": pd.to_datetime(shown["time"], utc=True, format="ISO8601", errors="coerce").dt.strftime("%Y-%m-%d %H:%M UTC"),
        "Reviewer": shown["reviewer"],
        "Verdict": [called(verdict, of_image=image) for verdict, image in zip(shown["verdict"], of_image, strict=True)],
        "Image": shown["sample_id"].where(of_image, "a class or the dataset"),
        "Given label": [label(name, words) if isinstance(name, str) else None for name in shown["given_label"]],
        "New label": [label(name, words) if isinstance(name, str) else None for name in shown["label"]],
        "Check": [title(name) if isinstance(name, str) else None for name in shown["check"]],
        "Note": shown["note"],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, placeholder="")
    if len(standing) > _SHOWN:
        st.caption(f"The latest {_SHOWN:,} of {len(standing):,}; the download has all.")


def _import(run: Run) -> None:
    if told := st.session_state.pop(_TOLD, None):
        st.success(told, icon=":material/task_alt:")
    given = st.file_uploader("A sheet or an export (.csv, .jsonl)", type=["csv", "jsonl"], key="import file")
    if given is None or not st.button("Take them over", key="import", icon=":material/upload:"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"decisions{Path(given.name).suffix.lower()}"
        path.write_bytes(given.getvalue())
        try:
            fresh = new_decisions(read_decisions(path, run, reviewer=reviewer()), decisions_of(run).current())
        except AuditError as error:
            place = error.where.replace(str(path), given.name)
            name, _, line = place.rpartition(":")
            where = f"{name}, line {line}" if line.isdecimal() else place
            st.error(literal(f"{where}: {error.problem}; {error.hint}"))
            return
    for name in sorted({decision.reviewer for decision in fresh}):
        decisions_of(run).append([decision for decision in fresh if decision.reviewer == name])
    st.session_state[_TOLD] = f"{len(fresh):,} decisions were taken over from {literal(given.name)}."
    st.rerun()

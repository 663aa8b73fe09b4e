"""What was decided, by whom, how far reviewers agree, how often checks are right, and the files that follow from it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from audit.errors import AuditError
from audit.review.agreement import agreement
from audit.review.decision_files import new_decisions, read_decisions, write_decisions
from dashboard.state import decisions_of, precision_now, reviewer, summary_of
from dashboard.text import literal, title

if TYPE_CHECKING:
    import pandas as pd

    from audit.run import Run

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


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Decisions & export")
    standing = decisions_of(run).current()
    totals = summary_of(run).decisions
    with st.container(horizontal=True):
        st.metric("Decisions", f"{len(standing):,}", border=True)
        for action, number in totals.images.items():
            st.metric(f"Images: {action}", f"{number:,}", border=True)
    if standing.empty:
        st.info(
            "Nothing is decided yet. Begin on **Overview**: the ten findings there are the ones most worth your time.", icon=":material/rate_review:"
        )
    st.subheader("Download")
    _downloads(run)
    if not standing.empty:
        st.subheader("How often each check is right")
        _precision(run)
        st.subheader("Agreement of reviewers")
        _agreement(standing)
        st.subheader("All decisions")
        _table(standing)
    st.subheader("Take over decisions")
    _import(run)


def _downloads(run: Run) -> None:
    st.caption("The dataset itself is never touched.")
    with st.container(horizontal=True):
        for what, (name, ending, meaning) in EXPORTS.items():
            st.download_button(
                name, _maker(run, what, ending), f"{what}.{ending}", key=f"export {what}", icon=":material/download:", help=meaning, on_click="ignore"
            )
        st.download_button(
            "Decisions", lambda: _decisions(run), "decisions.jsonl", key="export decisions", icon=":material/download:", on_click="ignore"
        )


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
            name: st.column_config.NumberColumn(text, format="percent")
            for name, text in (("precision", "Precision"), ("low", "From"), ("high", "To (95 % interval)"))
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
    st.dataframe(agreed.pairs, hide_index=True, column_config={"agreement": st.column_config.NumberColumn(format="percent")})


def _table(standing: pd.DataFrame) -> None:
    shown = standing.iloc[::-1].head(_SHOWN)
    st.dataframe(shown[["time", "reviewer", "verdict", "given_label", "label", "sample_id", "check", "note"]], hide_index=True)
    if len(standing) > _SHOWN:
        st.caption(f"The latest {_SHOWN:,} of {len(standing):,}; the download has all.")


def _import(run: Run) -> None:
    given = st.file_uploader("A sheet or an export (.csv, .jsonl)", type=["csv", "jsonl"], key="import file")
    if given is None or not st.button("Take them over", key="import", icon=":material/upload:"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"decisions{Path(given.name).suffix.lower()}"
        path.write_bytes(given.getvalue())
        try:
            fresh = new_decisions(read_decisions(path, run, reviewer=reviewer()), decisions_of(run).current())
        except AuditError as error:
            st.error(literal(f"line {error.place.rpartition(':')[2]}: {error.problem}; {error.mend}"))
            return
    for name in sorted({decision.reviewer for decision in fresh}):
        decisions_of(run).append([decision for decision in fresh if decision.reviewer == name])
    st.success(f"{len(fresh):,} decisions were taken over.")

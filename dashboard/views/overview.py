"""Overview of a run: what was scanned, the most important findings, and health per check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from audit.images.boxes import shown_images
from audit.io.console import duration
from dashboard.api.pictures import small
from dashboard.components import images
from dashboard.components.badges import SEVERITY_COLORS
from dashboard.components.history import earlier_health
from dashboard.components.overview_charts import class_sizes, severities
from dashboard.components.text import literal, reasons, short
from dashboard.state import page_at, stamp, summary_of, words_of
from reports.content.wording import check_title, cut, flagged, label, percent, subject, title, when

if TYPE_CHECKING:
    from audit.run.run import Run
    from reports.content.summary import CheckTotal, Precision, Summary, Top

_CARD_WIDTH = 168
_MESSAGE = 110
_ALMOST = 0.9999
"""Upper limit of a health below 1, so that the table, which shows two digits, never rounds it to 100%."""


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Overview")
    found = summary_of(run)
    _scanned(run, found)
    st.subheader("Look at these first")
    _first(run, found)
    _charts(run, found)
    st.subheader("Health per check")
    _health(run, found)


def _scanned(run: Run, found: Summary) -> None:
    counts, backbone = found.counts, found.backbone
    with st.container(horizontal=True):
        st.metric("Images", f"{counts.listed:,}", border=True, help="Images listed in the dataset")
        st.metric("Failed", f"{counts.failed:,}", border=True, help="Images that could not be read or decoded")
        st.metric("Classes", f"{counts.classes:,}", border=True)
        st.metric("Findings", f"{found.findings:,}", border=True)
        st.metric("Health", percent(found.health), border=True, help="Share of the images without an error or warning")
    source = run.record.get("source", {})
    model = " ".join(literal(backbone[name]) for name in ("name", "device", "precision") if name in backbone) or "none"
    lines = [
        f"Dataset: {literal(short(source.get('absolute') or source.get('location', '?'), 100))} ({literal(source.get('kind', '?'))})",
        f"Backbone: {model} ({literal(backbone.get('reason', 'no reason given'))})",
        f"Scanned: {literal(when(found.finished_at) if found.finished_at else 'unknown (scanned by an older version)')}",
        f"Duration: {duration(found.seconds)}; imagenet-audit {literal(found.version)}",
    ]
    if counts.splits:
        lines.append("Splits: " + ", ".join(f"{literal(split)} {number:,}" for split, number in counts.splits.items()))
    if counts.outcomes:
        lines.append("Failures: " + ", ".join(f"{literal(title(name).lower())} {number:,}" for name, number in counts.outcomes.items()))
    lines += [literal(note) for note in source.get("notes", [])]
    with st.expander("Details of the scan", icon=":material/info:"):
        st.markdown("\n".join(f"- {line}" for line in lines))


def _charts(run: Run, found: Summary) -> None:
    left, right = st.columns(2, gap="large")
    if found.checks:
        with left:
            st.subheader("Findings by severity")
            st.altair_chart(severities(found.checks))
    sizes = class_sizes(run.columns("label", "split"), words_of(run))
    if sizes is not None:
        with right:
            st.subheader("Images of each class")
            st.altair_chart(sizes)


def _first(run: Run, found: Summary) -> None:
    if not found.top:
        st.success("All findings are decided." if found.findings else "No findings.", icon=":material/task_alt:")
        return
    names = {entry.finding_id: shown_images(entry.sample_id, entry.evidence)[:2] for entry in found.top}
    known = list(dict.fromkeys(name for shown in names.values() for name in shown))
    rows = {name: int(row) for name, row in zip(known, run.rows_of(known), strict=True) if row >= 0} if known else {}
    previews = dict(zip(rows, small(run, list(rows.values())), strict=True))
    with st.container(horizontal=True, gap="small"):
        for entry in found.top:
            with st.container(border=True, width=_CARD_WIDTH):
                _entry(entry, {name: previews.get(name) for name in names[entry.finding_id]}, words_of(run))


def _entry(entry: Top, shown: Mapping[str, bytes | None], words: Mapping[str, str]) -> None:
    """Draw a finding: its image, both images of a pair, or two examples of a class."""
    if shown:
        for column, (name, data) in zip(st.columns(len(shown), gap="xsmall"), shown.items(), strict=True):
            images.show(column, data, alt=short(name))
    st.markdown(f":{SEVERITY_COLORS[entry.severity]}-badge[{literal(title(entry.severity))}] **{literal(check_title(entry.check))}**")
    about = subject(entry.sample_id, entry.label, entry.subject, words)
    st.caption(literal(short(about, 40)), help=literal(about))
    if entry.suggested_label:
        st.markdown(f"{literal(label(entry.label, words))} → **{literal(label(entry.suggested_label, words))}**")
    st.caption(literal(cut(entry.message, _MESSAGE)), help=literal(entry.message) if len(entry.message) > _MESSAGE else None)
    page = page_at(entry.check)
    if st.button("Review", key=f"first {entry.finding_id}", icon=":material/visibility:", width="stretch", disabled=page is None):
        st.switch_page(page, query_params={"finding": entry.finding_id})


def _health(run: Run, found: Summary) -> None:
    before = earlier_health(str(run.path.absolute()), stamp(run), run)
    names = [*(total.name for total in found.checks), *found.clean]
    table = pd.DataFrame([*(_row(total, before) for total in found.checks), *(_clean(name, before) for name in found.clean)])
    if len(table):
        chosen = st.dataframe(
            table if before else table.drop(columns="Trend"),
            hide_index=True,
            height="content",
            key="health",
            placeholder="",
            on_select="rerun",
            selection_mode="single-row",
            column_config={
                "Health": st.column_config.ProgressColumn(
                    format="percent",
                    min_value=0,
                    max_value=1,
                    help="Share of the images without an error or warning; empty if the check is about classes or the dataset",
                ),
                "Trend": st.column_config.LineChartColumn(
                    help="Health in earlier runs of the same dataset in the same folder, then in this run; each line is scaled to its own range"
                ),
                "Precision so far": st.column_config.TextColumn(help="Share of the decided findings that are right, with the 95% interval"),
            },
        )["selection"]["rows"]
        st.caption("Select a row to review the findings of a check." + ("" if before else " A trend needs earlier runs in the same folder."))
        if chosen and (page := page_at(names[chosen[0]])) is not None:
            st.switch_page(page, query_params={"checks": names[chosen[0]]})
    if found.skipped:
        with st.expander(f"Checks that did not run: {len(found.skipped)}", icon=":material/block:"):
            st.markdown(reasons(found.skipped))


def _row(total: CheckTotal, before: list[dict[str, float]]) -> dict[str, object]:
    trend = None if total.without_image else [*(health[total.name] for health in before if total.name in health), total.health]
    return {
        "Check": check_title(total.name),
        "Health": None if total.without_image else min(total.health, _ALMOST) if total.health < 1 else 1.0,
        "Trend": trend,
        "Findings": total.findings,
        "Errors": total.severities.get("error", 0),
        "Warnings": total.severities.get("warning", 0),
        "Notes": total.severities.get("info", 0),
        "Errors and warnings about": flagged(total),
        "Precision so far": _precise(total.precision),
    }


def _clean(name: str, before: list[dict[str, float]]) -> dict[str, object]:
    trend = [*(health[name] for health in before if name in health), 1.0]
    return {"Check": check_title(name), "Health": 1.0, "Trend": trend, **dict.fromkeys(("Findings", "Errors", "Warnings", "Notes"), 0)}


def _precise(precision: Precision) -> str:
    if precision.share is None:
        return "no decisions"
    return f"{percent(precision.share)} ({percent(precision.low)} to {percent(precision.high)}) of {precision.decided}"

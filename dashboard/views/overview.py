"""What was scanned and how, how healthy it is, and where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from dashboard import pictures
from dashboard.history import earlier_health
from dashboard.review import FOCUS, SEVERITY_COLORS
from dashboard.state import stamp, summary_of
from dashboard.text import label, literal, short, title

if TYPE_CHECKING:
    from audit.run import Run
    from reports.summary import Summary, Top


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Overview")
    found = summary_of(run)
    _scanned(run, found)
    st.subheader("Look at these first")
    _first(run, found)
    st.subheader("Health per check")
    _health(run, found)


def _scanned(run: Run, found: Summary) -> None:
    counts, backbone = found.counts, found.backbone
    with st.container(horizontal=True):
        st.metric("Images", f"{counts.listed:,}", border=True, help="Listed in the dataset")
        st.metric("Failed", f"{counts.failed:,}", border=True, help="Could not be read or decoded")
        st.metric("Classes", f"{counts.classes:,}", border=True)
        st.metric("Findings", f"{found.findings:,}", border=True)
        st.metric("Health", f"{found.health:.1%}", border=True, help="Share of the images without any error or warning")
    source = run.record.get("source", {})
    model = " ".join(literal(backbone[name]) for name in ("name", "device", "precision") if name in backbone) or "none"
    lines = [
        f"Dataset: {literal(short(source.get('absolute') or source.get('location', '?'), 100))} ({literal(source.get('kind', '?'))})",
        f"Backbone: {model} ({literal(backbone.get('reason', 'no reason given'))})",
        f"Time: {_duration(found.seconds)}; version {literal(found.version)}",
    ]
    if counts.splits:
        lines.append("Splits: " + ", ".join(f"{literal(split)} {number:,}" for split, number in counts.splits.items()))
    if counts.outcomes:
        lines.append("Failures: " + ", ".join(f"{literal(title(name).lower())} {number:,}" for name, number in counts.outcomes.items()))
    lines += [literal(note) for note in source.get("notes", [])]
    with st.expander("What was scanned, and how", icon=":material/info:"):
        st.markdown("\n".join(f"- {line}" for line in lines))


def _first(run: Run, found: Summary) -> None:
    if not found.top:
        st.success("No check found anything.", icon=":material/task_alt:")
        return
    rows = run.rows_of([entry.sample_id or "" for entry in found.top])
    with_image = [int(row) for row in rows if row >= 0]
    previews = dict(zip(with_image, pictures.small(run, with_image), strict=True))
    words = run.record.get("class_words") or {}
    for start in range(0, len(found.top), 5):
        columns = st.columns(5)
        for place, entry in enumerate(found.top[start : start + 5]):
            with columns[place].container(border=True):
                _entry(run, entry, previews.get(int(rows[start + place])), words)


def _entry(run: Run, entry: Top, data: bytes | None, words: dict[str, str]) -> None:
    del run
    if entry.sample_id:
        pictures.show(st, data, alt=short(entry.sample_id))
    st.markdown(f":{SEVERITY_COLORS[entry.severity]}-badge[{literal(title(entry.severity))}] **{literal(title(entry.check))}**")
    if entry.suggested_label:
        st.markdown(f"{literal(label(entry.label, words))} → **{literal(label(entry.suggested_label, words))}**")
    st.caption(literal(short(entry.message, 110)), help=literal(entry.message))
    if st.button("Review", key=f"first {entry.finding_id}", icon=":material/visibility:", width="stretch"):
        st.session_state[FOCUS] = entry.finding_id
        page = st.session_state.get("pages", {}).get(entry.check)
        if page is not None:
            st.switch_page(page)


def _health(run: Run, found: Summary) -> None:
    before = earlier_health(str(run.path.absolute()), stamp(run), run)
    rows = [
        {
            "Check": title(total.name),
            "Health": total.health,
            "Trend": [*(health[total.name] for health in before if total.name in health), total.health],
            "Findings": total.findings,
            "Images flagged": total.flagged,
            "Errors": total.severities.get("error", 0),
            "Warnings": total.severities.get("warning", 0),
            "Notes": total.severities.get("info", 0),
            "Precision so far": f"{total.precision.share:.0%} ({total.precision.low:.0%} to {total.precision.high:.0%}) of {total.precision.decided}"
            if total.precision.share is not None
            else "nothing decided",
        }
        for total in found.checks
    ]
    nothing = dict.fromkeys(("Findings", "Images flagged", "Errors", "Warnings", "Notes"), 0)
    rows += [{"Check": title(name), "Health": 1.0, "Precision so far": "nothing decided", **nothing} for name in found.clean]
    table = pd.DataFrame(rows)
    if not before and "Trend" in table:
        table = table.drop(columns="Trend")
    if len(table):
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "Health": st.column_config.ProgressColumn(
                    format="percent", min_value=0, max_value=1, help="Share of the images without an error or a warning"
                ),
                "Trend": st.column_config.LineChartColumn(
                    y_min=0, y_max=1, help="Health in earlier runs of the same dataset beside this one, then now"
                ),
            },
        )
    if not before:
        st.caption("The trend appears when earlier runs of the same dataset lie in the same folder as this one.")
    if found.skipped:
        with st.expander(f"Checks that did not run: {len(found.skipped)}", icon=":material/block:"):
            st.markdown("\n".join(f"- **{literal(title(check.name))}**: {literal(check.reason)}" for check in found.skipped))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"

"""Which classes are taken for which: a heat map to zoom into, the pairs with their images, and groups that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from audit.errors import AuditError
from audit.labels.class_confusion import class_quality, confused_pairs, confusion
from dashboard import pictures
from dashboard.heat_map import BLOCK, blocks, order_of_classes, window
from dashboard.state import stamp
from dashboard.text import label, literal, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.run import Run

CHECKS = ("class_overlap",)
_PAIRS = 50
_EXAMPLES = 6


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Class confusion")
    try:
        counts, order, pairs, quality = _measured(str(run.path), stamp(run), run)
    except AuditError as error:
        st.info(f"There is nothing to compare classes by: {literal(error.problem)}.", icon=":material/grid_off:")
        _groups(run)
        return
    _map(run, counts, order)
    _pairs(run, pairs)
    _groups(run)
    with st.expander("How good the labels of each class are", icon=":material/sell:"):
        st.dataframe(
            quality,
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("estimated_error_rate", "Expected share of wrong labels"), ("low", "From"), ("high", "To"))
            },
        )


@st.cache_data(max_entries=2, show_spinner="Comparing classes")
def _measured(path: str, changed: int, _run: Run) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], pd.DataFrame, pd.DataFrame]:
    del path, changed
    counts = confusion(_run)
    return counts, order_of_classes(counts), confused_pairs(_run, _PAIRS, min_images=2), class_quality(_run)


def _map(run: Run, counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> None:
    """Draw blocks of classes where there are many, and the classes of one block beside them."""
    words = run.record.get("class_words") or {}
    names = [label(run.classes[place], words) for place in order]
    st.caption("Rows: the given label. Columns: what a classifier that never saw the image takes it for. Correct ones are left out.")
    if len(order) <= BLOCK:
        _chart(window(counts, order, names, 0, 0, len(order)), names, names, key="map")
        return
    left, right = st.columns(2)
    with left:
        st.markdown(f"**All {len(order):,} classes**, those that are confused beside each other: click a block to look into it")
        given, predicted = _blocks(blocks(counts, order, names))
    with right:
        rows, columns = slice(given * BLOCK, (given + 1) * BLOCK), slice(predicted * BLOCK, (predicted + 1) * BLOCK)
        st.markdown(
            f"**Classes {rows.start + 1:,} to {min(rows.stop, len(order)):,}**, taken for {columns.start + 1:,} to {min(columns.stop, len(order)):,}"
        )
        _chart(window(counts, order, names, given, predicted, BLOCK), names[rows], names[columns], key="block")


def _blocks(table: pd.DataFrame) -> tuple[int, int]:
    import altair as alt

    picked = alt.selection_point(name="block", fields=["given_block", "predicted_block"])
    chart = (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X("predicted_block:O", title="Taken for", axis=alt.Axis(labels=False, ticks=False)),
            y=alt.Y("given_block:O", title="Given", axis=alt.Axis(labels=False, ticks=False)),
            color=alt.Color("confused:Q", title="Images", scale=alt.Scale(type="sqrt", scheme="viridis")),
            opacity=alt.condition(picked, alt.value(1.0), alt.value(0.6)),
            tooltip=["given", "predicted", "confused"],
        )
        .add_params(picked)
        .properties(height=480)
    )
    event = st.altair_chart(chart, on_select="rerun", selection_mode="block", key="blocks")
    chosen = (event or {}).get("selection", {}).get("block") or []
    if chosen:
        return int(chosen[0]["given_block"]), int(chosen[0]["predicted_block"])
    worst = table.iloc[int(table["confused"].to_numpy().argmax())]
    return int(worst["given_block"]), int(worst["predicted_block"])


def _chart(table: pd.DataFrame, rows: list[str], columns: list[str], key: str) -> None:
    import altair as alt

    if not table["confused"].any():
        st.caption("No image of these classes is taken for one of those.")
        return
    size = max(18, min(46, 520 // max(len(rows), 1)))
    chart = (
        alt.Chart(table[table["confused"] > 0])
        .mark_rect()
        .encode(
            x=alt.X(
                "predicted:N",
                title="Taken for",
                sort=columns,
                scale=alt.Scale(domain=columns),
                axis=alt.Axis(labelLimit=110, labelAngle=-90, labelOverlap=False, labelFontSize=9),
            ),
            y=alt.Y(
                "given:N", title="Given", sort=rows, scale=alt.Scale(domain=rows), axis=alt.Axis(labelLimit=110, labelOverlap=False, labelFontSize=9)
            ),
            color=alt.Color("share:Q", title="Share", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(format="%")),
            tooltip=["given", "predicted", "confused", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=max(200, size * len(rows) + 120))
    )
    st.altair_chart(chart, key=key)


def _pairs(run: Run, pairs: pd.DataFrame) -> None:
    st.subheader("Confused pairs")
    if pairs.empty:
        st.success("No class is taken for another.", icon=":material/task_alt:")
        return
    st.caption("Choose a row to see its images.")
    words = run.record.get("class_words") or {}
    shown = pairs.assign(label=[label(name, words) for name in pairs["label"]], predicted=[label(name, words) for name in pairs["predicted"]])
    event = st.dataframe(
        shown,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="pairs",
        height=260,
        column_config={
            "label": "Given",
            "predicted": "Taken for",
            **{
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("share", "Share"), ("low", "From"), ("high", "To"), ("share_back", "The other way"))
            },
        },
    )
    chosen = event["selection"]["rows"]
    pair = pairs.iloc[chosen[0] if chosen and chosen[0] < len(pairs) else 0]
    _examples(run, str(pair["label"]), str(pair["predicted"]), words)


def _examples(run: Run, given: str, predicted: str, words: Mapping[str, str]) -> None:
    """Draw typical images of both classes, and between them those that are taken for the other."""
    first, second = run.classes.index(given), run.classes.index(predicted)
    for text, chosen in (
        (f"{literal(label(given, words))}, as it should be", (first, first)),
        (f"{literal(label(given, words))} taken for **{literal(label(predicted, words))}**", (first, second)),
        (f"{literal(label(predicted, words))}, as it should be", (second, second)),
    ):
        rows = _surest(str(run.path), stamp(run), *chosen, run)
        st.markdown(text)
        if not len(rows):
            st.caption("None.")
            continue
        names = run.columns("sample_id", rows=rows)["sample_id"]
        for column, data, name in zip(st.columns(_EXAMPLES), pictures.small(run, rows.tolist()), names, strict=False):
            pictures.show(column, data, alt=short(name))
            column.caption(literal(short(name, 24)), help=literal(name))


@st.cache_data(max_entries=256, show_spinner=False)
def _surest(path: str, changed: int, given: int, predicted: int, _run: Run) -> npt.NDArray[np.int64]:
    """Return rows of a label that were taken for a class, the surest first."""
    del path, changed
    quality = _run.label_quality
    rows = np.flatnonzero((quality["given"].to_numpy() == given) & (quality["predicted"].to_numpy() == predicted))
    sure = quality["predicted_probability"].to_numpy(np.float32, na_value=0.0)[rows]
    return rows[np.argsort(-sure, kind="stable")][:_EXAMPLES]


def _groups(run: Run) -> None:
    page = run.findings_page({"check": "class_overlap"}, limit=50)
    st.subheader("Classes that overlap, and classes with poor labels")
    if page.rows.empty:
        st.success("The check found none.", icon=":material/task_alt:")
        return
    for record in page.rows.to_dict("records"):
        subject = f"**{literal(record['label'])}**: " if isinstance(record["label"], str) else ""
        st.markdown(f"- {subject}{literal(record['message'])}")
    if page.total > len(page.rows):
        st.caption(f"The worst {len(page.rows)} of {page.total:,}.")

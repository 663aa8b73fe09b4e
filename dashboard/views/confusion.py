"""Class confusion: a heat map of given label and predicted class, confused pairs with images, and findings about overlapping classes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from audit.errors import AuditError
from audit.labels.confusion import class_quality, confused_pairs, confusion
from dashboard.api.families import checks_of
from dashboard.api.typical import typical
from dashboard.components import images
from dashboard.components.confusion_charts import chosen, map_of_blocks, map_of_classes
from dashboard.components.heat_map import BLOCK, blocks, order_of_classes, window
from dashboard.components.review import review
from dashboard.components.text import literal
from dashboard.state import address, in_address, stamp, words_of
from reports.content.wording import label

if TYPE_CHECKING:
    from audit.run.run import Run

_PAIRS = 50
_EXAMPLES = 6
_PAIR = "confusion pair"
"""Session key of the selected given label and predicted class."""
_MAP, _FINDINGS = "Heat map and pairs", "Findings about classes"


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Class confusion")
    if "finding" in in_address() and in_address() != st.session_state.get("confusion address"):
        st.session_state["confusion part"] = _FINDINGS
    found = int(run.findings_index["check"].isin(checks_of(run, "confusion")).sum())
    st.session_state.setdefault("confusion part", _MAP)
    part = st.segmented_control(
        "Section",
        [_MAP, _FINDINGS],
        key="confusion part",
        format_func=lambda name: f"{name} ({found:,})" if name == _FINDINGS else name,
        required=True,
        persist_state="session",
        label_visibility="collapsed",
    )
    if part == _FINDINGS:
        review(run, "confusion", "Class confusion")
    else:
        st.session_state["confusion address"] = address()
        _confused(run)


def _confused(run: Run) -> None:
    try:
        counts, order, pairs, quality = _measured(str(run.path), stamp(run), run)
    except AuditError as error:
        st.info(f"This page needs predictions: {literal(error.problem)}.", icon=":material/grid_off:")
        return
    _map(run, counts, order)
    _pairs(run, pairs)
    with st.expander("Label quality per class", icon=":material/sell:"):
        st.dataframe(
            quality.assign(label=[label(name, words_of(run)) for name in quality["label"]]),
            hide_index=True,
            column_config={"label": "Class", "n": "Images"}
            | {
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("estimated_error_rate", "Estimated label error rate"), ("low", "Lower bound"), ("high", "Upper bound"))
            },
        )


@st.cache_data(max_entries=2, show_spinner="Comparing classes")
def _measured(path: str, changed: int, _run: Run) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], pd.DataFrame, pd.DataFrame]:
    del path, changed
    counts = confusion(_run)
    return counts, order_of_classes(counts), confused_pairs(_run, _PAIRS, min_images=2), class_quality(_run)


def _map(run: Run, counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> None:
    """Draw the heat map; for many classes, blocks of classes first and the classes of the selected block below."""
    names = [label(run.classes[code], words_of(run)) for code in order]
    st.caption(
        "Rows: given label. Columns: class predicted by a classifier that was not trained on the image. Correct predictions are left out. "
        "Select a cell to see its images."
    )
    if len(order) <= BLOCK:
        map_of_classes(window(counts, order, names, 0, 0, len(order)), names, names, key="map", on_select=partial(_choose_on_map, run))
        return
    table = blocks(counts, order, names)
    st.markdown(f"**All {len(order):,} classes** in blocks; confused classes are adjacent. Select a block to see its classes.")
    map_of_blocks(table, key="blocks", on_select=lambda: None)
    worst = table.iloc[int(table["confused"].to_numpy().argmax())]
    block = chosen("blocks") or {"given_block": int(worst["given_block"]), "predicted_block": int(worst["predicted_block"])}
    given, predicted = block["given_block"], block["predicted_block"]
    rows, columns = slice(given * BLOCK, (given + 1) * BLOCK), slice(predicted * BLOCK, (predicted + 1) * BLOCK)
    st.markdown(
        f"**Classes {rows.start + 1:,} to {min(rows.stop, len(order)):,}**, predicted as {columns.start + 1:,} to {min(columns.stop, len(order)):,}"
    )
    cells = window(counts, order, names, given, predicted, BLOCK)
    map_of_classes(cells, names[rows], names[columns], key="map", on_select=partial(_choose_on_map, run))


def _choose_on_map(run: Run) -> None:
    cell = chosen("map")
    if cell is not None:
        st.session_state[_PAIR] = (run.classes[cell["given_at"]], run.classes[cell["predicted_at"]])


def _choose_in_table(pairs: pd.DataFrame) -> None:
    rows = st.session_state["pairs"]["selection"]["rows"]
    if rows:
        st.session_state[_PAIR] = tuple(pairs.iloc[rows[0]][["label", "predicted"]])


def _pairs(run: Run, pairs: pd.DataFrame) -> None:
    st.subheader("Confused pairs")
    if pairs.empty:
        st.success("No class is confused with another.", icon=":material/task_alt:")
        return
    st.caption("Select a row, or a cell above, to see its images.")
    words = words_of(run)
    st.dataframe(
        pairs.assign(label=[label(name, words) for name in pairs["label"]], predicted=[label(name, words) for name in pairs["predicted"]]),
        hide_index=True,
        on_select=partial(_choose_in_table, pairs),
        selection_mode="single-row",
        key="pairs",
        height=260,
        column_config={
            "label": "Given label",
            "predicted": "Predicted class",
            "images": "Images",
            "confused": "Confused",
            **{
                name: st.column_config.NumberColumn(text, format="percent")
                for name, text in (("share", "Share"), ("low", "Lower bound"), ("high", "Upper bound"), ("share_back", "Share in reverse"))
            },
        },
    )
    _examples(run, *st.session_state.get(_PAIR, tuple(pairs.iloc[0][["label", "predicted"]])))


def _examples(run: Run, given: str, predicted: str) -> None:
    """Draw typical images of both classes, and between them the confused images."""
    words = words_of(run)
    for text, pair in (
        (f"{literal(label(given, words))}, predicted correctly", (given, None)),
        (f"{literal(label(given, words))} predicted as **{literal(label(predicted, words))}**", (given, predicted)),
        (f"{literal(label(predicted, words))}, predicted correctly", (predicted, None)),
    ):
        rows = typical(run, *pair)[:_EXAMPLES]
        st.markdown(text)
        if len(rows):
            images.gallery(run, list(rows), [""] * len(rows))
        else:
            st.caption("None.")

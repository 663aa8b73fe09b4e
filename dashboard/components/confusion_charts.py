"""Charts of the confusion matrix, in shades of blue; wider than the page if the labels need the space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.command import SETTINGS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

CELL = "cell"
"""Name of the selection parameter of the charts."""

_RAMPS = {"light": ("#c9ddf5", "#6ea6e3", "#1d5fd0", "#0a2a63"), "dark": ("#173460", "#2b62b4", "#7fb0ff", "#e3eeff")}
"""Theme -> colors from few to many confused images; cells with none have the background color."""

NUMBERED = 12
"""Classes up to which each cell shows its number."""

_TURN = {"light": 0.46, "dark": 0.31}
"""Theme -> share, relative to the largest, above which a cell needs the other color of text. The contrast is 4.58 to 1 or more."""

_CHOSEN = "#e07b00"
_NARROWEST, _WIDEST = 16, 40
_SPREAD = 370
"""Preferred width of a chart in pixels; the limits above keep labels of its cells readable."""


def map_of_classes(table: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], *, key: str, on_select: Callable[[], None]) -> None:
    """Draw given classes by predicted classes; a click selects a cell.

    Args:
        table: as `dashboard.components.heat_map.window` returns it.
        rows: names of the given classes, from top to bottom.
        columns: names of the predicted classes, from left to right.
        key: key of the widget.
        on_select: called when a cell is selected.
    """
    import altair as alt

    if not table["confused"].any():
        st.caption("No image of these given classes is predicted as one of these classes.")
        return
    side = min(max(_SPREAD // max(len(rows), len(columns), 1), _NARROWEST), _WIDEST)
    x = alt.X("predicted:N", title="Predicted class", sort=columns, scale=alt.Scale(domain=columns), axis=_axis(labelAngle=-90))
    y = alt.Y("given:N", title="Given label", sort=rows, scale=alt.Scale(domain=rows), axis=_axis())
    cells = table[table["confused"] > 0]
    chart = _rectangles(cells, [CELL, "given_at", "predicted_at"]).encode(
        x=x,
        y=y,
        color=alt.Color("share:Q", title="Share", scale=_scale(float(table["share"].max())), legend=_legend(format=".0%")),
        tooltip=[*_tips(), alt.Tooltip("share:Q", title="Share", format=".1%")],
    )
    layers = [chart, _numbers(cells).encode(x=x, y=y)] if max(len(rows), len(columns)) <= NUMBERED else [chart]
    whole: Any = alt.layer(*layers) if len(layers) > 1 else chart
    _show(whole.properties(width=side * len(columns), height=side * len(rows), autosize="pad"), key, on_select)


def _numbers(cells: pd.DataFrame) -> alt.Chart:
    """Return the number of images of each cell, black or white so that its contrast is at least 4.5 to 1."""
    import altair as alt

    theme = st.context.theme.type or "light"
    above, below = ("#ffffff", "#000000") if theme == "light" else ("#000000", "#ffffff")
    color = alt.condition(alt.datum.share > float(cells["share"].max()) * _TURN[theme], alt.value(above), alt.value(below))
    chart: alt.Chart = alt.Chart(cells).mark_text(fontSize=12, aria=False).encode(text="confused:Q", color=color)
    return chart


def map_of_blocks(table: pd.DataFrame, *, key: str, on_select: Callable[[], None]) -> None:
    """Draw blocks of classes; a click selects a block.

    Args:
        table: as `dashboard.components.heat_map.blocks` returns it.
        key: key of the widget.
        on_select: called when a block is selected.
    """
    import altair as alt

    number = int(table["given_block"].max()) + 1
    side = min(max(_SPREAD // number, _NARROWEST), 2 * _WIDEST)
    chart = (
        _rectangles(table, [CELL, "given_block", "predicted_block"])
        .encode(
            x=alt.X("predicted_block:O", title="Predicted class", axis=_axis(labels=False, ticks=False)),
            y=alt.Y("given_block:O", title="Given label", axis=_axis(labels=False, ticks=False)),
            color=alt.Color("confused:Q", title="Images", scale=_scale(float(table["confused"].max())), legend=_legend()),
            tooltip=_tips(),
        )
        .properties(width=side * number, height=side * number, autosize="pad")
    )
    _show(chart, key, on_select)


def chosen(key: str) -> dict[str, int] | None:
    """Return the fields of the selected cell or block of a chart; None if none is selected."""
    picked = (st.session_state.get(key) or {}).get("selection", {}).get(CELL) or []
    return {name: int(value) for name, value in picked[0].items()} if picked else None


def _rectangles(table: pd.DataFrame, selection: Sequence[str]) -> alt.Chart:
    import altair as alt

    name, *fields = selection
    picked = alt.selection_point(name=name, fields=fields)
    edge = alt.condition(picked, alt.value(_CHOSEN), alt.value("transparent"), empty=False)
    chart: alt.Chart = alt.Chart(table).mark_rect(cursor="pointer", strokeWidth=2).encode(stroke=edge).add_params(picked)
    return chart


def _tips() -> list[alt.Tooltip]:
    import altair as alt

    titles = {"given:N": "Given label", "predicted:N": "Predicted class", "confused:Q": "Images"}
    return [alt.Tooltip(name, title=title) for name, title in titles.items()]


def _axis(**more: Any) -> alt.Axis:
    import altair as alt

    return alt.Axis(**{"labelLimit": 150, "labelOverlap": False, "labelFlush": False, "labelFontSize": 11, **more})


def _legend(**more: Any) -> alt.Legend:
    import altair as alt

    return alt.Legend(orient="top", **more)


def _scale(most: float) -> alt.Scale:
    import altair as alt

    theme = st.context.theme.type or "light"
    return alt.Scale(type="sqrt", interpolate="rgb", domain=[0, most or 1], range=[SETTINGS[f"theme.{theme}.backgroundColor"], *_RAMPS[theme]])


def _show(chart: alt.Chart, key: str, on_select: Callable[[], None]) -> None:
    with st.container(key=f"wide_{key}"):
        st.altair_chart(chart, width="content", key=key, on_select=on_select, selection_mode=CELL)
    st.html(f"<style>.st-key-wide_{key} {{ overflow-x: auto }} .st-key-wide_{key} .mark-text text {{ pointer-events: none }}</style>")

"""The confusion matrix drawn: from the page's ground, where nothing is confused, to blue, and wider than the page where labels need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.command import SETTINGS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

CELL = "cell"
"""Name of the selection of a cell."""

_RAMPS = {"light": ("#c9ddf5", "#6ea6e3", "#1d5fd0", "#0a2a63"), "dark": ("#173460", "#2b62b4", "#7fb0ff", "#e3eeff")}
"""Theme -> colours from little to the most; nothing has the colour of the theme's ground."""

_CHOSEN = "#e07b00"
_NARROWEST, _WIDEST = 16, 40
_SPREAD = 370
"""Pixels that a map takes where its cells can be as wide as they like; none is narrower or wider than the numbers above, for the labels' sake."""


def map_of_classes(table: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], *, key: str, on_select: Callable[[], None]) -> None:
    """Draw classes given by classes predicted; a click on a cell chooses it.

    Args:
        table: as `dashboard.components.heat_map.window` returns it.
        rows: names of the given classes, from the top.
        columns: names of the predicted classes, from the left.
        key: of the widget.
        on_select: called when a cell is chosen.
    """
    import altair as alt

    if not table["confused"].any():
        st.caption("No image of these classes is taken for one of those.")
        return
    side = min(max(_SPREAD // max(len(rows), len(columns), 1), _NARROWEST), _WIDEST)
    chart = (
        _rectangles(table[table["confused"] > 0], [CELL, "given_at", "predicted_at"])
        .encode(
            x=alt.X("predicted:N", title="Taken for", sort=columns, scale=alt.Scale(domain=columns), axis=_axis(labelAngle=-90)),
            y=alt.Y("given:N", title="Given", sort=rows, scale=alt.Scale(domain=rows), axis=_axis()),
            color=alt.Color("share:Q", title="Share", scale=_scale(float(table["share"].max())), legend=_legend(format=".0%")),
            tooltip=[*_tips(), alt.Tooltip("share:Q", title="Share", format=".1%")],
        )
        .properties(width=side * len(columns), height=side * len(rows), autosize="pad")
    )
    _show(chart, key, on_select)


def map_of_blocks(table: pd.DataFrame, *, key: str, on_select: Callable[[], None]) -> None:
    """Draw blocks of classes; a click on a block chooses it.

    Args:
        table: as `dashboard.components.heat_map.blocks` returns it.
        key: of the widget.
        on_select: called when a block is chosen.
    """
    import altair as alt

    number = int(table["given_block"].max()) + 1
    side = min(max(_SPREAD // number, _NARROWEST), 2 * _WIDEST)
    chart = (
        _rectangles(table, [CELL, "given_block", "predicted_block"])
        .encode(
            x=alt.X("predicted_block:O", title="Taken for", axis=_axis(labels=False, ticks=False)),
            y=alt.Y("given_block:O", title="Given", axis=_axis(labels=False, ticks=False)),
            color=alt.Color("confused:Q", title="Images", scale=_scale(float(table["confused"].max())), legend=_legend()),
            tooltip=_tips(),
        )
        .properties(width=side * number, height=side * number, autosize="pad")
    )
    _show(chart, key, on_select)


def chosen(key: str) -> dict[str, int] | None:
    """Return the fields of the cell or block that is chosen on a map; None where none is."""
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

    return [alt.Tooltip(name, title=text) for name, text in (("given:N", "Given"), ("predicted:N", "Taken for"), ("confused:Q", "Images"))]


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
    st.html(f"<style>.st-key-wide_{key} {{ overflow-x: auto }}</style>")

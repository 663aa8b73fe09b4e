"""Charts of the overview: findings by check and severity, and the sizes of the classes by split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import streamlit as st

from audit.tables import SEVERITIES
from reports.content.wording import check_title, label, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import altair as alt

    from reports.content.summary import CheckTotal

COLORS = {
    "light": {"error": "#c4352b", "warning": "#d9822b", "info": "#2f6fde"},
    "dark": {"error": "#ff7b72", "warning": "#f0a44b", "info": "#7fb0ff"},
}
"""Theme -> severity -> color."""
SPLITS = {"light": ("#1d5fd0", "#d9822b", "#17683b", "#7135b8", "#7a7f87"), "dark": ("#7fb0ff", "#f0a44b", "#79dba3", "#cfa8ff", "#c0c5cd")}
FEW = 40
"""Classes that have a bar each; of more, the chart shows how many have which size."""


def severities(totals: Sequence[CheckTotal]) -> alt.Chart:
    """Return the number of findings of each check, by severity."""
    import altair as alt

    rows = [
        {"Check": check_title(total.name), "Severity": title(level), "Findings": total.severities[level], "order": at}
        for total in totals
        for at, level in enumerate(reversed(SEVERITIES))
        if total.severities.get(level)
    ]
    colors = COLORS[_theme()]
    names = [title(level) for level in reversed(SEVERITIES)]
    return _plain(
        alt.Chart(pd.DataFrame(rows), height={"step": 20})
        .mark_bar(cornerRadius=2)
        .encode(
            x=alt.X("Findings:Q", title="Findings"),
            y=alt.Y("Check:N", title=None, sort=[check_title(total.name) for total in totals], axis=alt.Axis(labelLimit=170)),
            color=alt.Color("Severity:N", scale=alt.Scale(domain=names, range=[colors[level] for level in reversed(SEVERITIES)]), legend=_top()),
            order=alt.Order("order:Q"),
            tooltip=["Check", "Severity", "Findings"],
        )
    )


def class_sizes(samples: pd.DataFrame, words: Mapping[str, str]) -> alt.Chart | None:
    """Return the number of images of each class by split; of more than `FEW` classes, how many have which size. None without labels.

    Args:
        samples: columns ``label`` and ``split``.
        words: label -> class words.
    """
    import altair as alt

    known = samples[samples["label"].notna()]
    if known.empty:
        return None
    counts = known.assign(split=known["split"].fillna("no split")).groupby(["label", "split"]).size().rename("Images").reset_index()
    names = sorted(counts["split"].unique())
    color = alt.Color("Split:N", scale=alt.Scale(domain=names, range=list(SPLITS[_theme()])), legend=_top() if len(names) > 1 else None)
    if counts["label"].nunique() <= FEW:
        counts = counts.assign(Class=[label(name, words) for name in counts["label"]], Split=counts["split"])
        order = counts.groupby("Class")["Images"].sum().sort_values(ascending=False).index.tolist()
        chart = alt.Chart(counts[["Class", "Split", "Images"]], height={"step": 20}).mark_bar(cornerRadius=2)
        y = alt.Y("Class:N", title=None, sort=order, axis=alt.Axis(labelLimit=170))
        return _plain(chart.encode(x="Images:Q", y=y, color=color, tooltip=["Class", "Split", "Images"]))
    counts = counts.assign(Split=counts["split"])[["Split", "Images"]]
    chart = alt.Chart(counts, height=220).mark_bar(cornerRadius=2)
    x = alt.X("Images:Q", bin=alt.Bin(maxbins=30), title="Images of a class")
    return _plain(chart.encode(x=x, y=alt.Y("count()", title="Classes"), color=color, tooltip=[x, "count()", "Split"]))


def _plain(chart: Any) -> alt.Chart:
    return cast("alt.Chart", chart.configure_view(strokeOpacity=0))


def _top() -> alt.Legend:
    import altair as alt

    return alt.Legend(orient="top", title=None)


def _theme() -> str:
    return st.context.theme.type or "light"

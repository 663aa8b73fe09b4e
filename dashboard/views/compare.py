"""Two versions of a dataset beside each other: what became of the images and the findings, and which is healthier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from audit.errors import AuditError
from audit.versions.comparison import compare
from audit.versions.sample_changes import CHANGES
from dashboard.history import siblings
from dashboard.state import open_finished, stamp
from dashboard.text import literal, short, title

if TYPE_CHECKING:
    import pandas as pd

    from audit.run import Run
    from audit.versions.comparison import Difference

_SHOWN = 200
_CLASSES = 20


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Compare")
    known = [str(path) for path in siblings(run)]
    chosen = st.selectbox(
        "Compare this run with",
        known,
        index=0 if known else None,
        key="compare with",
        accept_new_options=True,
        placeholder="Path of another run directory",
        help="Earlier runs of the same dataset beside this one are offered; any other may be typed.",
    )
    if not chosen:
        st.info("Give the directory of another run, made by: imagenet-audit scan SOURCE --out RUN", icon=":material/compare:")
        return
    try:
        other = open_finished(str(Path(chosen).expanduser()))
        _compare(other, run)
    except AuditError as error:
        st.error(literal(f"{short(error.place, 80)}: {error.problem}"), icon=":material/error:")
        st.markdown(f"**What to do:** {literal(error.mend)}")


def _compare(old: Run, new: Run) -> None:
    found = cast("Difference", _difference(str(old.path), stamp(old), str(new.path), stamp(new), old, new))
    states = found.findings["state"].value_counts()
    whole = found.health[found.health["part"] == "all"].iloc[0]
    before, after = (1 - whole[f"flagged_{side}"] / max(whole[f"images_{side}"], 1) for side in ("old", "new"))
    with st.container(horizontal=True):
        st.metric("Images", f"{found.counts['new']:,}", f"{found.counts['new'] - found.counts['old']:+,}", delta_color="off", border=True)
        st.metric("New findings", f"{states.get('new', 0):,}", border=True)
        st.metric("Fixed", f"{states.get('fixed', 0):,}", border=True)
        st.metric("Health", f"{after:.1%}", f"{(after - before) * 100:+.1f} points", border=True)
        if found.drift is not None:
            moved = "How far the mean embedding moved, in units of the older version's spread; 0 = not at all"
            st.metric("Drift", f"{found.drift.shift:.3f}", border=True, help=moved)
    for warning in (*found.warnings, *(f"{title(check)}: {why}" for check, why in found.not_compared.items())):
        st.caption(literal(warning))
    _samples(found)
    for state, text in (("new", "New findings"), ("fixed", "Fixed findings")):
        _findings(found.findings[found.findings["state"] == state], text)
    _health(found)


@st.cache_data(max_entries=2, show_spinner="Comparing the two versions")
def _difference(old: str, old_changed: int, new: str, new_changed: int, _old: Run, _new: Run) -> Any:
    del old, old_changed, new, new_changed
    return compare(_old, _new)


def _samples(found: Difference) -> None:
    told = [f"{found.counts[change]:,} {change}" for change in CHANGES if found.counts[change]]
    told += [f"class {old} is now called {new}" for old, new in {**found.renamed_classes, **found.renamed_splits}.items()]
    told += [
        f"class {name} is {word}" for word, names in (("new", found.classes_added), ("gone", found.classes_removed)) for name in names[:_CLASSES]
    ]
    st.subheader("Images")
    st.markdown(f"{found.counts['unchanged']:,} as they were" + "".join(f" · {literal(text)}" for text in told))
    if len(found.samples):
        shown = found.samples.head(_SHOWN)
        became = shown[list(CHANGES)].apply(lambda row: ", ".join(name for name in CHANGES if row[name]), axis=1)
        names = ["old_id", "new_id", "old_split", "new_split", "old_label", "new_label"]
        with st.expander(f"Each of them: {len(found.samples):,}"):
            st.dataframe(shown[names].assign(became=became), hide_index=True)
            if len(found.samples) > _SHOWN:
                st.caption(f"The first {_SHOWN} of {len(found.samples):,}; all of them: imagenet-audit diff --json")


def _findings(findings: pd.DataFrame, text: str) -> None:
    touched, around = findings[findings["cause"] != "context"], findings[findings["cause"] == "context"]
    with st.expander(f"{text}: {len(touched):,}", expanded=bool(len(touched))):
        if not len(touched):
            st.caption("None.")
        else:
            st.dataframe(touched.head(_SHOWN)[["severity", "check", "kind", "sample_id", "label", "cause", "message"]], hide_index=True)
        if len(touched) > _SHOWN:
            st.caption(f"The first {_SHOWN} of {len(touched):,}.")
        if len(around):
            st.caption(f"And {len(around):,} about images that nobody touched: other images, or the fit, changed around them.")


def _health(found: Difference) -> None:
    st.subheader("Health")
    names = ["name", "images_old", "images_new", "flagged_old", "flagged_new", "rate_old", "rate_new"]
    for part, text in (("check", "By check"), ("class", "By class")):
        rows = found.health.loc[found.health["part"] == part, names]
        rows = rows.assign(change=rows["rate_new"] - rows["rate_old"]).sort_values(["change", "name"], ascending=[False, True])
        if part == "check":
            rows = rows.assign(name=rows["name"].map(title))
        shares = {name: st.column_config.NumberColumn(format="percent") for name in ("rate_old", "rate_new", "change")}
        with st.expander(f"{text}: {len(rows):,}"):
            st.dataframe(rows.head(_SHOWN), hide_index=True, column_config=shares)
    if len(found.class_drift):
        with st.expander("Classes whose embeddings moved most"):
            st.dataframe(found.class_drift.head(_CLASSES), hide_index=True)

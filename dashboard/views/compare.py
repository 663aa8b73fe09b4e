"""Two runs beside each other: what is new, what is gone, and which is healthier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from audit.errors import AuditError
from dashboard.history import siblings
from dashboard.state import open_finished, summary_of
from dashboard.text import literal, short, title

if TYPE_CHECKING:
    from audit.run import Run

_SHOWN = 200


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
    before, after = summary_of(old), summary_of(new)
    with st.container(horizontal=True):
        st.metric("Images", f"{after.counts.listed:,}", f"{after.counts.listed - before.counts.listed:+,}", delta_color="off", border=True)
        st.metric("Findings", f"{after.findings:,}", f"{after.findings - before.findings:+,}", delta_color="inverse", border=True)
        st.metric("Health", f"{after.health:.1%}", f"{(after.health - before.health) * 100:+.1f} points", border=True)
    table = changes(old.findings_index, new.findings_index)
    st.dataframe(table.assign(check=table["check"].map(title)), hide_index=True)
    for text, one, reference in (("New findings", new, old), ("Findings that are gone", old, new)):
        missing = one.findings_index[~one.findings_index["finding_id"].isin(reference.findings_index["finding_id"])]
        with st.expander(f"{text}: {len(missing):,}", expanded=text == "New findings" and len(missing) > 0):
            page = one.findings_page({"finding_id": missing["finding_id"].head(_SHOWN).tolist()}) if len(missing) else None
            if page is None:
                st.caption("None.")
                continue
            st.dataframe(page.rows[["severity", "check", "kind", "sample_id", "label", "suggested_label", "message"]], hide_index=True)
            if len(missing) > _SHOWN:
                st.caption(f"The worst {_SHOWN} of {len(missing):,}.")


def changes(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return ``check, before, after, new, gone, same``: findings are the same where check, kind, image and partner are.

    Args:
        old: as `audit.run.Run.findings_index`.
        new: the other run's.
    """
    in_old, in_new = new["finding_id"].isin(old["finding_id"]), old["finding_id"].isin(new["finding_id"])
    columns = {
        "before": old["check"].value_counts(),
        "after": new["check"].value_counts(),
        "new": new.loc[~in_old, "check"].value_counts(),
        "gone": old.loc[~in_new, "check"].value_counts(),
        "same": new.loc[in_old, "check"].value_counts(),
    }
    return pd.DataFrame(columns).fillna(0).astype("int64").rename_axis("check").sort_index().reset_index()

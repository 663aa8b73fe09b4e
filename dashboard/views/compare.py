"""Compare two versions of a dataset: changed images, new and fixed findings, health and drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from audit.diff.comparison import compare
from audit.diff.sample_changes import CHANGES
from audit.errors import AuditError
from dashboard.components.history import siblings
from dashboard.components.text import literal, short
from dashboard.state import address, in_address, open_finished, stamp
from reports.content.wording import check_title, percent, title, when

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from audit.diff.comparison import Difference
    from audit.run.run import Run
    from dashboard.components.history import Sibling

_SHOWN = 200
_CLASSES = 20
_INDIRECT = "Indirect: findings about unchanged images, because other images or the fitted models changed"
_COLUMNS = {
    "became": "Change",
    "cause": "Cause",
    "change": "Difference",
    "check": "Check",
    "flagged_new": "Flagged now",
    "flagged_old": "Flagged before",
    "images_new": "Images now",
    "images_old": "Images before",
    "kind": "Kind",
    "label": "Class",
    "message": "Message",
    "name": "Name",
    "new_id": "Name now",
    "new_images": "Images now",
    "new_label": "Class now",
    "new_split": "Split now",
    "old_id": "Name before",
    "old_images": "Images before",
    "old_label": "Class before",
    "old_split": "Split before",
    "rate_new": "Share flagged now",
    "rate_old": "Share flagged before",
    "sample_id": "Image",
    "severity": "Severity",
    "shift": "Shift",
}
"""Column -> title."""


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Compare")
    known = {str(sibling.path): sibling for sibling in siblings(run)}
    linked = in_address().get("with", [""])[-1]
    if linked and "compare with" not in st.session_state:
        st.session_state["compare with"] = linked
    chosen = st.selectbox(
        "Compare this run with",
        list(known),
        index=0 if any(sibling.same_dataset and sibling.earlier for sibling in known.values()) else None,
        key="compare with",
        format_func=lambda path: _named(known[path]) if path in known else path,
        accept_new_options=True,
        persist_state="session",
        placeholder="Path of another run directory",
        help="The list contains the runs in the same folder, earlier runs of the same dataset first. You can also type the path of another run.",
    )
    address(**{"with": chosen or ""})
    if not chosen:
        st.info("Choose a run, or type the path of a run directory (created by: imagenet-audit scan SOURCE --out RUN)", icon=":material/compare:")
        return
    try:
        other = open_finished(str(Path(chosen).expanduser()))
        _compare(other, run)
    except AuditError as error:
        st.error(literal(f"{short(error.where, 80)}: {error.problem}"), icon=":material/error:")
        st.markdown(f"**What to do:** {literal(error.hint)}")


def _named(sibling: Sibling) -> str:
    source = sibling.record.get("source", {})
    of = "the same dataset" if sibling.same_dataset else short(source.get("location", "?"), 40)
    finished = sibling.record.get("finished_at")
    return " · ".join([sibling.path.name, of, *([when(finished)] if finished else [])])


def _compare(old: Run, new: Run) -> None:
    found = cast("Difference", _difference(str(old.path), stamp(old), str(new.path), stamp(new), old, new))
    whole = found.health[found.health["part"] == "all"].iloc[0]
    before, after = (1 - whole[f"flagged_{side}"] / max(whole[f"images_{side}"], 1) for side in ("old", "new"))
    with st.container(horizontal=True):
        st.metric("Images", f"{found.counts['new']:,}", f"{found.counts['new'] - found.counts['old']:+,}", delta_color="off", border=True)
        for state, text in (("new", "New findings"), ("fixed", "Fixed findings")):
            direct, indirect = _split(found.findings[found.findings["state"] == state])
            st.metric(text, f"{len(direct):,}" + (f" (+{len(indirect):,} indirect)" if len(indirect) else ""), border=True, help=_INDIRECT)
        st.metric("Health", percent(after), f"{(after - before) * 100:+.1f} points", border=True)
        if found.drift is not None:
            meaning = "Distance between the mean embeddings, in units of the older version's spread; 0 = no change"
            st.metric("Drift", f"{found.drift.shift:.3f}", border=True, help=meaning)
    ran = {name for run in (old, new) for name, check in run.record.get("checks", {}).items() if check["state"] == "done"}
    for warning in (*found.warnings, *(f"{check_title(check)}: {why}" for check, why in found.not_compared.items() if check in ran)):
        st.caption(literal(warning))
    _samples(found)
    for state, text in (("new", "New findings"), ("fixed", "Fixed findings")):
        _findings(found.findings[found.findings["state"] == state], text)
    _health(found, ran)


@st.cache_data(max_entries=2, show_spinner="Comparing the two versions")
def _difference(old: str, old_changed: int, new: str, new_changed: int, _old: Run, _new: Run) -> Any:
    del old, old_changed, new, new_changed
    return compare(_old, _new)


def _samples(found: Difference) -> None:
    changes = [f"{found.counts[change]:,} {change}" for change in CHANGES if found.counts[change]]
    changes += [f"class {old} was renamed to {new}" for old, new in {**found.renamed_classes, **found.renamed_splits}.items()]
    changes += [
        f"class {name} was {word}"
        for word, names in (("added", found.classes_added), ("removed", found.classes_removed))
        for name in names[:_CLASSES]
    ]
    st.subheader("Images")
    st.markdown(f"{found.counts['unchanged']:,} unchanged" + "".join(f" · {literal(text)}" for text in changes))
    if len(found.samples):
        shown = found.samples.head(_SHOWN)
        became = shown[list(CHANGES)].apply(lambda row: ", ".join(name for name in CHANGES if row[name]), axis=1)
        names = ["old_id", "new_id", "old_split", "new_split", "old_label", "new_label"]
        with st.expander(f"Changed images: {len(found.samples):,}"):
            _table(shown[names].assign(became=became))
            if len(found.samples) > _SHOWN:
                st.caption(f"First {_SHOWN} of {len(found.samples):,}. For all, run: imagenet-audit diff --json")


def _split(findings: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the findings about changed images, and those about unchanged images."""
    indirect = findings["cause"] == "context"
    return findings[~indirect], findings[indirect]


def _findings(findings: pd.DataFrame, text: str) -> None:
    direct, indirect = _split(findings)
    with st.expander(f"{text}: {len(direct):,}", expanded=bool(len(direct))):
        if not len(direct):
            st.caption("None.")
        else:
            shown = direct.head(_SHOWN)[["severity", "check", "kind", "sample_id", "label", "cause", "message"]]
            _table(shown.assign(**{name: shown[name].map(title) for name in ("severity", "check", "kind")}))
        if len(direct) > _SHOWN:
            st.caption(f"First {_SHOWN} of {len(direct):,}.")
        if len(indirect):
            st.caption(f"Also {len(indirect):,} about unchanged images, because other images or the fitted models changed.")


def _health(found: Difference, ran: Collection[str]) -> None:
    st.subheader("Health")
    names = ["name", "images_old", "images_new", "flagged_old", "flagged_new", "rate_old", "rate_new"]
    for part, text in (("check", "By check"), ("class", "By class")):
        rows = found.health.loc[found.health["part"] == part, names]
        rows = rows.assign(change=rows["rate_new"] - rows["rate_old"]).sort_values(["change", "name"], ascending=[False, True])
        if part == "check":
            rows = rows[rows["name"].isin(ran)]
            rows = rows.assign(name=rows["name"].map(title))
        with st.expander(f"{text}: {len(rows):,}"):
            _table(rows.head(_SHOWN))
    if len(found.class_drift):
        with st.expander("Classes with the largest embedding shift"):
            _table(found.class_drift.head(_CLASSES))


def _table(rows: pd.DataFrame) -> None:
    """Draw a table with column titles; missing values are empty."""
    shares = {name: st.column_config.NumberColumn(_COLUMNS[name], format="percent") for name in ("rate_old", "rate_new", "change") if name in rows}
    plain = rows.astype(object).where(rows.notna(), None) if not shares else rows
    st.dataframe(plain, hide_index=True, column_config={**_COLUMNS, **shares}, placeholder="")

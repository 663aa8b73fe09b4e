"""Find images of the run: by name, or those most like one of them, like a picture of your own, or like a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from audit.errors import AuditError
from dashboard import pictures
from dashboard.similar import embed, encode, most_alike
from dashboard.state import stamp
from dashboard.text import label, literal, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.run import Run

_SHOWN = 24
_NAMES = 200


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Search")
    by_name, by_image, by_text = st.tabs(["In this run", "By a picture of yours", "By a text"])
    with by_name:
        _by_name(run)
    with by_image:
        _by_image(run)
    with by_text:
        _by_text(run)


def matching_rows(run: Run, text: str, limit: int = _NAMES) -> npt.NDArray[np.int64]:
    """Return the rows whose sample id contains a text, upper or lower case, or whose content id begins with it."""
    import pyarrow.compute as pc

    columns = run.columns("sample_id", "content_id")
    hits = np.asarray(pc.match_substring(pc.cast(columns["sample_id"], "string"), text, ignore_case=True)) if text else np.zeros(len(columns), bool)
    if len(text) >= 6:
        hits = hits | columns["content_id"].str.startswith(text.lower()).fillna(value=False).to_numpy(bool)
    return np.flatnonzero(hits)[:limit]


def _by_name(run: Run) -> None:
    text = st.text_input("Part of a name, or the start of a content id", key="search name", placeholder="train/cat/0012").strip()
    if not text:
        st.caption("Every image of the run can be found, flagged or not.")
        return
    rows = matching_rows(run, text)
    if not len(rows):
        st.info("No image of this run is called so.", icon=":material/search_off:")
        return
    names = run.columns("sample_id", rows=rows)["sample_id"].tolist()
    chosen = names.index(st.selectbox(f"Found{' at least' if len(rows) == _NAMES else ''}: {len(rows):,}", names, key="search chosen"))
    row = int(rows[chosen])
    left, right = st.columns([2, 3])
    with left:
        pictures.show(st, pictures.large(run, row), alt=short(names[chosen]))
    with right:
        _known(run, row, names[chosen])
    try:
        near, likeness = run.neighbors[row], run.similarities[row]
    except AuditError:
        return
    st.subheader("Most alike")
    places = np.flatnonzero(near >= 0)
    _gallery(run, near[places].tolist(), likeness[places].tolist())


def _known(run: Run, row: int, name: str) -> None:
    facts = run.columns("label", "split", "outcome", "error", "format", "width", "height", rows=np.array([row])).iloc[0].to_dict()
    st.markdown(
        "\n".join(
            f"- {literal(str(key).capitalize())}: **{literal(fact)}**" for key, fact in facts.items() if isinstance(fact, str) or pd.notna(fact)
        )
    )
    own = run.findings_page({"sample_id": name}).rows
    st.markdown(f"**Findings: {len(own)}**")
    st.markdown("\n".join(f"- {literal(finding['check'])}: {literal(finding['message'])}" for finding in own.to_dict("records")))


def _by_image(run: Run) -> None:
    given = st.file_uploader("A picture", type=["jpg", "jpeg", "png", "webp", "bmp", "gif", "tiff"], key="search image")
    if given is None:
        st.caption("It stays on this machine, and is compared with every image of the run.")
        return
    st.image(given.getvalue(), width=200, alt="The picture that is searched for")
    query = cast("npt.NDArray[np.float32] | None", _embedded(str(run.path), stamp(run), given.getvalue(), run))
    if query is None:
        st.error("This file cannot be decoded.", icon=":material/broken_image:")
        return
    rows, likeness = most_alike(run.embeddings, query, _SHOWN)
    _gallery(run, rows.tolist(), likeness.tolist())


def _by_text(run: Run) -> None:
    if not (run.record.get("backbone") or {}).get("has_text_tower"):
        st.caption("Search by text needs a run made with a CLIP backbone.")
        return
    text = st.text_input("What is on the picture", key="search text", placeholder="a photo of a dog on a sofa").strip()
    if not text:
        st.caption("The images whose embeddings are most like the sentence's are shown, the most alike first.")
        return
    query = cast("npt.NDArray[np.float32]", _encoded(str(run.path), stamp(run), text, run))
    rows, likeness = most_alike(run.embeddings, query, _SHOWN)
    _gallery(run, rows.tolist(), likeness.tolist())


@st.cache_data(max_entries=16, show_spinner="Reading the text")
def _encoded(path: str, changed: int, text: str, _run: Run) -> Any:
    del path, changed
    return encode(_run, text)


@st.cache_data(max_entries=16, show_spinner="Looking at the picture")
def _embedded(path: str, changed: int, data: bytes, _run: Run) -> Any:
    del path, changed
    return embed(_run, data)


def _gallery(run: Run, rows: Sequence[int], likeness: Sequence[float]) -> None:
    words = run.record.get("class_words") or {}
    facts = run.columns("sample_id", "label", rows=np.array(rows, np.int64)).to_dict("records")
    previews = pictures.small(run, rows)
    for start in range(0, len(rows), 6):
        for place, column in zip(range(start, min(start + 6, len(rows))), st.columns(6), strict=False):
            given = facts[place]["label"]
            pictures.show(column, previews[place], alt=short(facts[place]["sample_id"]))
            name = literal(label(given if isinstance(given, str) else None, words))
            column.caption(
                f"{likeness[place]:.2f} · {name}  \n{literal(short(facts[place]['sample_id'], 24))}", help=literal(facts[place]["sample_id"])
            )

"""Search the images of a run by name, class or content id, by an uploaded image, or by a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from audit.errors import AuditError
from dashboard.api.desk import verdict_of
from dashboard.api.pictures import large
from dashboard.api.search import matching_rows
from dashboard.api.similar import embed, encode, most_similar
from dashboard.components import images
from dashboard.components.badges import badges, plain
from dashboard.components.text import literal, short
from dashboard.state import address, decisions_of, in_address, page_at, stamp, words_of
from reports.content.wording import check_title, label, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.run.run import Run

_SHOWN = 24
_NAMES = 200
_FACTS = ("label", "split", "outcome", "error", "format", "width", "height")
_BY_NAME, _BY_IMAGE, _BY_TEXT = "By name", "By image", "By text"


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Search")
    linked = in_address()
    if linked and linked != st.session_state.get("search address"):  # the user followed a link or reloaded the page
        st.session_state["search name"] = linked.get("image", [""])[-1]
        st.session_state["search way"] = _BY_NAME
    st.session_state.setdefault("search way", _BY_NAME)
    ways = [_BY_NAME, _BY_IMAGE, _BY_TEXT]
    way = st.segmented_control("Search", ways, key="search way", required=True, persist_state="session", label_visibility="collapsed")
    {_BY_NAME: _by_name, _BY_IMAGE: _by_image, _BY_TEXT: _by_text}[way](run)
    named = st.session_state.get("search name", "") if way == _BY_NAME else ""
    st.session_state["search address"] = address(image=named.strip())


def _by_name(run: Run) -> None:
    text = st.text_input(
        "Part of a file name or class, or start of a content id", key="search name", placeholder="train/cat/0012", persist_state="session"
    ).strip()
    if not text:
        st.caption("Searches all images of the run, with or without findings.")
        return
    rows = matching_rows(run, text, _NAMES)
    if not len(rows):
        st.info("No image matches.", icon=":material/search_off:")
        return
    names = run.columns("sample_id", rows=rows)["sample_id"].tolist()
    at = names.index(text) if text in names else 0
    found = f"Matches (first {_NAMES} only)" if len(rows) == _NAMES else f"Matches ({len(rows):,})"
    chosen = st.selectbox(found, names, index=at, key=f"search chosen {text}")
    row = int(rows[names.index(chosen)])
    left, right = st.columns([2, 3])
    with left:
        images.show(st, large(run, row), alt=short(chosen))
    with right:
        _details(run, row, chosen)
    _most_similar(run, row)


def _most_similar(run: Run, row: int) -> None:
    try:
        near, similarity = run.neighbors_of(row)
    except AuditError:
        return
    valid = np.flatnonzero(near >= 0)
    if len(valid):
        st.subheader("Most similar images")
        _gallery(run, near[valid].tolist(), similarity[valid].tolist())


def _details(run: Run, row: int, name: str) -> None:
    words = words_of(run)
    facts = run.columns(*_FACTS, rows=np.array([row])).iloc[0].to_dict()
    present = {key: fact for key, fact in facts.items() if isinstance(fact, str) or pd.notna(fact)}
    lines = [f"- {title(str(key))}: **{literal(label(fact, words) if key == 'label' else fact)}**" for key, fact in present.items()]
    st.markdown("\n".join(lines))
    own = run.findings_page({"sample_id": name}).rows
    if own.empty:
        st.caption("No findings about this image.")
        return
    st.markdown(f"**Findings: {len(own)}**")
    decided = verdict_of(decisions_of(run).current())
    for record in map(plain, own.to_dict("records")):
        st.markdown(f"{badges(record, decided.get(record['finding_id']))}  \n{literal(record['message'])}")
        page = page_at(record["check"])
        if page is not None:
            text = f"Review: {check_title(record['check'])}"
            st.page_link(page, label=text, icon=":material/visibility:", query_params={"finding": record["finding_id"]})


def _by_image(run: Run) -> None:
    given = st.file_uploader("Image to search for", type=["jpg", "jpeg", "png", "webp", "bmp", "gif", "tiff"], key="search image")
    if given is None:
        st.caption("The image stays on this machine and is compared with every image of the run.")
        return
    st.image(given.getvalue(), width=200, alt="The image to search for")
    query = cast("npt.NDArray[np.float32] | None", _embedded(str(run.path), stamp(run), given.getvalue(), run))
    if query is None:
        st.error("This file cannot be decoded.", icon=":material/broken_image:")
        return
    rows, similarity = most_similar(run.embeddings, query, _SHOWN)
    _gallery(run, rows.tolist(), similarity.tolist())


def _by_text(run: Run) -> None:
    if not (run.record.get("backbone") or {}).get("has_text_tower"):
        st.caption("Search by text needs a run scanned with a CLIP backbone (--backbone clip).")
        return
    text = st.text_input("Description of the image", key="search text", placeholder="a photo of a dog on a sofa", persist_state="session").strip()
    if not text:
        st.caption("Shows the images most similar to the text, most similar first.")
        return
    query = cast("npt.NDArray[np.float32]", _encoded(str(run.path), stamp(run), text, run))
    rows, similarity = most_similar(run.embeddings, query, _SHOWN)
    _gallery(run, rows.tolist(), similarity.tolist())


@st.cache_data(max_entries=16, show_spinner="Embedding the text")
def _encoded(path: str, changed: int, text: str, _run: Run) -> Any:
    del path, changed
    return encode(_run, text)


@st.cache_data(max_entries=16, show_spinner="Embedding the image")
def _embedded(path: str, changed: int, data: bytes, _run: Run) -> Any:
    del path, changed
    return embed(_run, data)


def _gallery(run: Run, rows: Sequence[int], similarity: Sequence[float]) -> None:
    words = words_of(run)
    labels = run.columns("label", rows=np.array(rows, np.int64))["label"]
    named = (literal(label(given if isinstance(given, str) else None, words)) for given in labels)
    images.gallery(run, rows, [f"{name}  \nsimilarity {cosine:.2f}" for cosine, name in zip(similarity, named, strict=True)])

"""Occlusion saliency maps: the parts of an image that support its classes, computed on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.errors import AuditError
from dashboard.components.similar import model_of
from dashboard.components.text import literal
from dashboard.state import stamp
from reports.content.wording import label

if TYPE_CHECKING:
    from audit.run.run import Run
    from dashboard.components.page import Page

_HELP = "An occlusion saliency map: the parts of the image that support its classes, and the parts that contradict them"


def where_it_looked(page: Page, record: Mapping[str, Any]) -> None:
    """Draw a toggle, and the occlusion maps if it is on: they take the backbone a second or two."""
    if not st.toggle("What the model looked at", key=f"saliency {page.name}", persist_state="session", help=_HELP):
        return
    from audit.explain.saliency import CAVEAT

    run, row = page.run, int(page.run.rows_of([record["sample_id"]])[0])
    try:
        image, classes = _maps(str(run.path), stamp(run), row, run)
    except AuditError as error:
        st.warning(literal(f"{error.problem}; {error.hint}"), icon=":material/visibility_off:")
        return
    st.image(image, alt="Parts of the image that support its classes" if classes else "The image")
    if not classes:
        st.caption("Only the image is shown: it has no label or predicted class to explain.")
        return
    named = " · ".join(f"**{literal(label(name, page.words))}**" for name in classes)
    st.caption(
        f"The image, then a map for each class: {named}. Red parts support the class, blue parts contradict it: "
        f"covering them lowers or raises the similarity to the class. {CAVEAT}."
    )


@st.cache_data(max_entries=32, show_spinner="Computing the saliency map")
def _maps(path: str, changed: int, row: int, _run: Run) -> tuple[bytes, list[str]]:
    from audit.explain.saliency import classes_of, drawn, saliency

    del path, changed
    classes = classes_of(_run, row)
    return drawn(saliency(_run, row, classes, model=model_of(_run))), classes

"""What on a picture made the backbone take it for its classes: an occlusion map, made when it is asked for."""

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

_HELP = "Parts of the picture that argued for its classes and against them"


def where_it_looked(page: Page, record: Mapping[str, Any]) -> None:
    """Offer occlusion maps: they take the backbone a second or two, so they are made when they are asked for."""
    if not st.toggle("What the backbone went by", key=f"saliency {page.name}", persist_state="session", help=_HELP):
        return
    from audit.explain.saliency import CAVEAT

    run, row = page.run, int(page.run.rows_of([record["sample_id"]])[0])
    try:
        picture, classes = _maps(str(run.path), stamp(run), row, run)
    except AuditError as error:
        st.warning(literal(f"{error.problem}; {error.hint}"), icon=":material/visibility_off:")
        return
    st.image(picture, alt="What argued for the classes" if classes else "The picture")
    if not classes:
        st.caption("The picture alone: no class is known that it could be taken for.")
        return
    named = " · ".join(f"for **{literal(label(name, page.words))}**" for name in classes)
    st.caption(
        f"The picture, then in red what argued {named}, in blue what argued against: "
        f"how the likeness to the class changes where a part is covered. {CAVEAT}."
    )


@st.cache_data(max_entries=32, show_spinner="Covering parts of the picture")
def _maps(path: str, changed: int, row: int, _run: Run) -> tuple[bytes, list[str]]:
    from audit.explain.saliency import classes_of, drawn, saliency

    del path, changed
    classes = classes_of(_run, row)
    return drawn(saliency(_run, row, classes, model=model_of(_run))), classes

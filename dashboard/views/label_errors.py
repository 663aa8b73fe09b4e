"""Labels that are probably wrong: given and suggested label, the evidence, and the decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.errors import AuditError
from dashboard.review import review
from dashboard.similar import model_of
from dashboard.state import stamp
from dashboard.text import literal
from reports.wording import label

if TYPE_CHECKING:
    from audit.run import Run
    from dashboard.page import Page

CHECKS = ("conflicting_labels", "label_errors")
_HELP = "Parts of the picture that argued for the label and against it"


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Label errors")
    review(run, "labels", CHECKS, extra=_where_it_looked)


def _where_it_looked(page: Page, record: Mapping[str, Any]) -> None:
    """Offer occlusion maps: they take the backbone a second or two, so they are made when they are asked for."""
    if not st.toggle("What the backbone went by", key=f"saliency {page.name}", persist_state="session", help=_HELP):
        return
    run, row = page.run, int(page.run.rows_of([record["sample_id"]])[0])
    try:
        picture, classes = _maps(str(run.path), stamp(run), row, run)
    except AuditError as error:
        st.warning(literal(f"{error.problem}; {error.mend}"), icon=":material/visibility_off:")
        return
    named = " · ".join(f"for **{literal(label(name, page.words))}**" for name in classes)
    st.image(picture, alt="What argued for the classes")
    st.caption(
        f"The picture, then in red what argued {named}, in blue what argued against: how the likeness to the class changes where a part is covered. "
        "This is the backbone's view; a model you train may look elsewhere."
    )


@st.cache_data(max_entries=32, show_spinner="Covering parts of the picture")
def _maps(path: str, changed: int, row: int, _run: Run) -> tuple[bytes, list[str]]:
    from audit.saliency import classes_of, drawn, saliency

    del path, changed
    classes = classes_of(_run, row)
    return drawn(saliency(_run, row, classes, model=model_of(_run))), classes

"""Labels that are probably wrong, with suggested label and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.components.families import checks_of
from dashboard.components.occlusion import where_it_looked
from dashboard.components.review import review
from dashboard.components.text import literal
from reports.content.wording import self_test

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Label errors")
    if outcome := self_test(run.record):
        st.caption(literal(outcome))
    review(run, "labels", checks_of(run, "labels"), extra=where_it_looked)

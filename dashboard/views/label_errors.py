"""Labels that are probably wrong, with suggested label and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.components.families import checks_of
from dashboard.components.occlusion import where_it_looked
from dashboard.components.review import review

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Label errors")
    review(run, "labels", checks_of(run, "labels"), extra=where_it_looked)

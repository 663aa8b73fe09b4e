"""Corrupt files, images of poor quality and outliers; also the findings of checks from other packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.components.families import checks_of
from dashboard.components.occlusion import where_it_looked
from dashboard.components.review import review
from dashboard.components.verdicts import OF_IMAGES

if TYPE_CHECKING:
    from audit.run.run import Run
    from dashboard.components.page import Page


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Quality & integrity")
    review(run, "quality", checks_of(run, "quality"), OF_IMAGES, _of_outliers)


def _of_outliers(page: Page, record: Mapping[str, Any]) -> None:
    if record["check"] == "outliers":
        where_it_looked(page, record)

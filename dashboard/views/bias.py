"""Class balance, shortcuts and other bias, and private data in images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.components.families import checks_of
from dashboard.components.review import review
from dashboard.components.verdicts import OF_IMAGES

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Bias & privacy")
    review(run, "bias", checks_of(run, "bias"), OF_IMAGES, whole_first=True)

"""What a model could learn that it should not, who is in the pictures, and what they give away."""

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

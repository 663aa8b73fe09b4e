"""Files that are damaged, pictures that are poor, and images unlike the others of their class; checks of other packages are here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.review import review
from dashboard.verdicts import OF_IMAGES

if TYPE_CHECKING:
    from audit.run import Run

CHECKS = ("integrity", "image_quality", "outliers")


def show(run: Run, checks: Sequence[str] = CHECKS) -> None:
    """Draw the page."""
    st.title("Quality & integrity")
    review(run, "quality", checks, OF_IMAGES)

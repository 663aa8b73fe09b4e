"""Class balance, shortcuts and other bias, and private data in images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.components.review import review
from dashboard.components.verdicts import OF_IMAGES

if TYPE_CHECKING:
    from audit.run.run import Run

CHECKS = (
    "class_balance",
    "same_source",
    "shortcuts",
    "marks",
    "subgroups",
    "split_shift",
    "attributes",
    "multi_object",
    "crop_loss",
    "privacy",
    "faces",
)


def show(run: Run) -> None:
    """Draw the page."""
    st.title("Bias & privacy")
    review(run, "bias", CHECKS, OF_IMAGES, whole_first=True)

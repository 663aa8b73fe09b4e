"""All images as a grid: a class, a split, a search or a neighborhood, with or without findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.api.queues import IMAGES
from dashboard.components.review import panel

if TYPE_CHECKING:
    from audit.run.run import Run

_NOTE = "Decide about any image here, also about those that no check flagged. Sorted by importance, the most suspicious labels come first."


def show(run: Run) -> None:
    """Draw the page."""
    panel(run, IMAGES, "Images", [_NOTE])

"""A map of the images: similar ones are close; a selection opens as a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.components.review import panel

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    panel(run, "map", "Map")

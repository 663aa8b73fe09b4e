"""Class balance, shortcuts and other bias, and private data in images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.components.review import review

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    review(run, "bias", "Bias & privacy")

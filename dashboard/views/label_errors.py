"""Labels that are probably wrong, with suggested label and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.components.review import review
from reports.content.wording import self_test

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    outcome = self_test(run.record)
    review(run, "labels", "Label errors", [outcome] if outcome else [])

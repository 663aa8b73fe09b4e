"""Duplicates and leakage between splits, and what a clean split removes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.components.review import review
from dashboard.state import summary_of
from reports.content.wording import title

if TYPE_CHECKING:
    from audit.run.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    found = summary_of(run)
    pairs = ", ".join(f"{title(relation).lower()} {number:,}" for relation, number in found.duplicates.relations.items())
    notes = [f"{found.duplicates.groups:,} duplicate sets of {found.duplicates.images:,} images." + (f" Pairs: {pairs}." if pairs else "")]
    if found.leaving:
        parts = ", ".join(f"{number:,} from {split}" for split, number in found.leaving.items())
        notes.append(f"A clean split would remove {parts}. Download it under Decisions & export.")
    review(run, "duplicates", "Duplicates & leakage", notes)

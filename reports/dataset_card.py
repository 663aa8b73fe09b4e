"""A section for a Hugging Face dataset card: what was checked, found and decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.io.markdown import code, escape
from reports.content.summary import summarize
from reports.markdown import account, check_table

if TYPE_CHECKING:
    from audit import Run

FILE = "dataset_card.md"


def render(run: Run) -> str:
    """Return the section as Markdown, to paste into ``README.md`` below the dataset's description."""
    summary = summarize(run)
    parts = ["## Data quality audit", account(summary), check_table(summary)]
    if summary.skipped_for:
        parts.append(
            "Skipped checks: " + "; ".join(f"{', '.join(map(code, names))} ({escape(reason)})" for reason, names in summary.skipped_for.items()) + "."
        )
    if summary.leaving:
        leaving = ", ".join(f"{number:,} from {code(split)}" for split, number in summary.leaving.items())
        parts.append(f"Images in two splits: for a clean split, remove {leaving}.")
    decided = summary.decisions
    reviewed = ", ".join(f"{action} {number:,}" for action, number in decided.images.items())
    parts.append(f"Human review: {decided.decisions:,} decisions ({reviewed})." if decided.decisions else "The findings have not been reviewed yet.")
    parts.append(f"Created with imagenet-audit {escape(summary.version)}. Findings are proposals for human review.")
    return "\n\n".join(part for part in parts if part) + "\n"

"""A section for a dataset's card, as the Hugging Face hub shows it: what was looked for, what was found, what was decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.io.markdown import code, escape
from reports.content.summary import summarize
from reports.markdown import account, check_table

if TYPE_CHECKING:
    from audit import Run

FILE = "dataset_card.md"


def render(run: Run) -> str:
    """Return the section as Markdown, to be pasted into ``README.md`` below the dataset's description."""
    summary = summarize(run)
    parts = ["## Data quality audit", account(summary), check_table(summary)]
    if summary.skipped_for:
        parts.append(
            "Not looked for: " + "; ".join(f"{', '.join(map(code, names))} ({escape(reason)})" for reason, names in summary.skipped_for.items()) + "."
        )
    if summary.leaving:
        leaving = ", ".join(f"{number:,} from {code(split)}" for split, number in summary.leaving.items())
        parts.append(f"Pictures in two splits: {leaving} would have to leave for a clean split.")
    decided = summary.decisions
    reviewed = ", ".join(f"{action} {number:,}" for action, number in decided.images.items())
    parts.append(
        f"Reviewed by people: {decided.decisions:,} decisions ({reviewed})." if decided.decisions else "Findings were not reviewed by people yet."
    )
    parts.append(f"Made with imagenet-audit {escape(summary.version)}. Findings are proposals: each says why, and people decide.")
    return "\n\n".join(part for part in parts if part) + "\n"

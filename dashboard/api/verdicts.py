"""Names of verdicts."""

from __future__ import annotations

from reports.content.wording import title

NAMES = {
    "keep": "Not a problem",
    "accept": "Confirmed",
    "relabel": "Relabel",
    "drop": "Drop",
    "unsure": "Not sure",
    "disputed": "Disputed",
}


def verdict_name(verdict: str) -> str:
    """Return the name of a verdict on buttons, badges and tables."""
    return NAMES.get(verdict) or title(verdict)

"""Verdicts about findings: names, keys, icons, where they apply, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.review.decision_files import new_decisions
from audit.review.decisions import decide
from dashboard.components.text import literal
from dashboard.state import decisions_of, reviewer
from reports.content.wording import title

if TYPE_CHECKING:
    from audit.run.run import Run

KEYS = {"keep": "k", "accept": "a", "relabel": "r", "drop": "d", "unsure": "u"}
MEANING = {
    "keep": "The finding is wrong; nothing changes",
    "accept": "The finding is right, but it is fixed elsewhere; exports do not change",
    "relabel": "The image needs another label",
    "drop": "Remove the image from the dataset",
    "unsure": "Seen, but not decided",
}
ICONS = {
    "keep": ":material/check:",
    "accept": ":material/thumb_up:",
    "relabel": ":material/sell:",
    "drop": ":material/delete:",
    "unsure": ":material/help:",
}
COLORS = {"keep": "green", "accept": "blue", "relabel": "orange", "drop": "red", "unsure": "gray", "disputed": "violet"}

OF_LABELS = ("keep", "relabel", "drop", "unsure")
OF_COPIES = ("keep", "drop", "unsure")
OF_IMAGES = ("keep", "accept", "drop", "unsure")
OF_CLASSES = ("accept", "keep", "unsure")
"""For findings about a class or the dataset, which cannot be dropped or relabelled."""


def offered(record: Mapping[Any, Any], of_page: Sequence[str]) -> tuple[str, ...]:
    """Return the verdicts that apply to a finding.

    Args:
        record: the finding, with ``sample_id`` and ``suggested_label``.
        of_page: verdicts for the page's findings about images; relabel is added if a label is suggested.
    """
    if not isinstance(record["sample_id"], str):
        return OF_CLASSES
    relabels = isinstance(record["suggested_label"], str) and "drop" in of_page
    return tuple(verdict for verdict in KEYS if verdict in of_page or (verdict == "relabel" and relabels))


def verdict_name(verdict: str) -> str:
    """Return the name of a verdict on buttons, badges and tables."""
    return {"keep": "Not a problem", "accept": "Confirm"}.get(verdict) or title(verdict)


def badge(verdict: str) -> str:
    """Return a verdict as Markdown."""
    return f":{COLORS.get(verdict, 'gray')}-badge[{literal(verdict_name(verdict))}]"


def decide_about(run: Run, finding_ids: Sequence[str], verdict: str, of_page: Sequence[str], *, new_label: str | None = None, note: str = "") -> int:
    """Store one verdict about some findings as one action; skip those to which it does not apply, or without a label to relabel to.

    Returns:
        Number of decided findings.
    """
    rows = run.findings_page({"finding_id": list(finding_ids)}).rows
    rows = rows[[verdict in offered(record, of_page) for record in rows.to_dict("records")]]
    if verdict == "relabel":
        rows = rows[rows["suggested_label"].notna() | bool(new_label)]
    log = decisions_of(run)
    decided = decide(run, rows, verdict, reviewer=reviewer(), label=new_label, note=note)
    log.append(new_decisions(decided, log.current()))  # a second click adds nothing, so that one undo is enough
    return len(rows)

"""What can be decided about a finding, what it is called, and how it is stored."""

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
    "keep": "The finding is wrong: nothing changes",
    "accept": "The finding is right, and what follows is done elsewhere: exports do not change",
    "relabel": "The right label is another",
    "drop": "Leave the image out of the dataset",
    "unsure": "Seen, not decided",
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
"""About a class or the dataset, of which nothing can be dropped or relabelled."""


def offered(record: Mapping[Any, Any], of_page: Sequence[str]) -> tuple[str, ...]:
    """Return the verdicts that fit a finding.

    Args:
        record: the finding; columns ``sample_id`` and ``suggested_label``.
        of_page: those that fit the page's findings about images; relabel is added where a label is suggested.
    """
    if not isinstance(record["sample_id"], str):
        return OF_CLASSES
    relabels = isinstance(record["suggested_label"], str) and "drop" in of_page
    return tuple(verdict for verdict in KEYS if verdict in of_page or (verdict == "relabel" and relabels))


def called(verdict: str, *, of_image: bool = True) -> str:
    """Return what a verdict is called: of a class nothing is kept, the finding is right or wrong."""
    if not of_image and verdict in ("accept", "keep"):
        return "Right" if verdict == "accept" else "Wrong"
    return "Right, handled otherwise" if verdict == "accept" else title(verdict)


def icon(verdict: str, *, of_image: bool = True) -> str:
    """Return a verdict's icon; see `called`."""
    return ":material/thumb_down:" if verdict == "keep" and not of_image else ICONS[verdict]


def badge(verdict: str, *, of_image: bool = True) -> str:
    """Return a verdict as Markdown."""
    return f":{COLORS.get(verdict, 'gray')}-badge[{literal(called(verdict, of_image=of_image))}]"


def decide_about(run: Run, finding_ids: Sequence[str], verdict: str, of_page: Sequence[str], *, new_label: str | None = None, note: str = "") -> int:
    """Store one verdict about some findings as one action; those it does not fit, and for relabel those without any label, are passed over.

    Returns:
        How many were decided.
    """
    rows = run.findings_page({"finding_id": list(finding_ids)}).rows
    rows = rows[[verdict in offered(record, of_page) for record in rows.to_dict("records")]]
    if verdict == "relabel":
        rows = rows[rows["suggested_label"].notna() | bool(new_label)]
    log = decisions_of(run)
    made = decide(run, rows, verdict, reviewer=reviewer(), label=new_label, note=note)
    log.append(new_decisions(made, log.current()))  # a button that is clicked twice is taken back at once
    return len(rows)

"""Store the decisions of the review panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.review.cards import identified, settle
from audit.review.decision_files import new_decisions
from dashboard.api.desk import Verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.review.cards import Card
    from dashboard.api.desk import Desk


@dataclass(frozen=True, slots=True)
class Order:
    """What a reviewer asked for, about one or several cards."""

    cards: tuple[str, ...]
    verdict: str
    reviewer: str
    label: str | None = None
    """The new label; None takes each card's suggestion, for several cards only."""
    which: int | None = None
    """Position of the image of a pair that is dropped."""
    note: str = ""


def decide(desk: Desk, order: Order) -> tuple[dict[str, str | None], int]:
    """Store one verdict about some cards as one action; skip those to which it does not apply.

    Returns:
        Card id -> its verdict now; and the number of skipped cards.

    Raises:
        AuditError: a single card to which the verdict does not apply, or an unknown card.
    """
    known = [(name, desk.cards.of(name)) for name in order.cards]
    missing = [name for name, card in known if card is None]
    if missing:
        raise AuditError(missing[0], "this run has no such finding", "it may be from another scan; reload the page")
    cards = [card for _, card in known if card is not None]
    samples = identified(desk.run, list(dict.fromkeys(image for card in cards for image in card.images)))
    decided, skipped = [], 0
    suggested = _suggested(desk, cards) if order.verdict == "relabel" and order.label is None else {}
    for card in cards:
        try:
            label = order.label or suggested.get(card.id)
            decided += settle(
                desk.cards, card, samples, order.verdict, reviewer=order.reviewer, label=label, which=order.which, note=order.note.strip()
            )
        except AuditError:
            if len(cards) == 1:
                raise
            skipped += 1
    with desk.lock:
        desk.decisions.append(new_decisions(decided, desk.decisions.current()))  # a second click adds nothing, so that one undo is enough
        now = Verdicts(desk.decisions.current())
    return {name: now.of(card) for name, card in known if card is not None}, skipped


def undo(desk: Desk, reviewer: str) -> tuple[str | None, int]:
    """Undo a reviewer's last action; return a card that it was about, and the number of undone decisions."""
    with desk.lock:
        undone = desk.decisions.undo(reviewer)
    if not undone:
        return None, 0
    first = undone[0]
    if first.finding_id is not None:
        return first.finding_id, len(undone)
    row = int(desk.run.rows_of([first.sample_id or ""])[0])
    return (f"row:{row}" if row >= 0 else None), len(undone)


def _suggested(desk: Desk, cards: Sequence[Card]) -> dict[str, str]:
    """Return card id -> the label that its worst finding with a suggestion suggests."""
    index = desk.run.findings_index
    wanted = {finding: card.id for card in cards for finding in card.findings}
    rows = index[index["finding_id"].isin(wanted) & index["suggested_label"].notna()]
    found: dict[str, str] = {}
    for finding, label in zip(rows["finding_id"], rows["suggested_label"], strict=True):
        found.setdefault(wanted[finding], str(label))
    return found

"""Cards: all findings about one image, or about one pair of images, which one decision settles."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError
from audit.review.decisions import Decision
from audit.run.findings import identity
from audit.tables import cell_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from audit.run.run import Run

CONFLICTS = "conflicting_labels"
"""The check whose pairs take in the other findings about the labels of their images: they are the same question."""

OF_LABELS = frozenset({CONFLICTS, "label_errors"})
"""Checks that a new label answers."""

_ROW = "row:"
_PARTNER = re.compile(r'"partner": "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Card:
    """What one decision is about."""

    id: str
    """Id of the worst finding, or ``row:`` and the row of an image without findings."""
    images: tuple[str, ...]
    """Sample ids: one image, or the two of a pair; empty for a class, a group or the dataset."""
    findings: tuple[str, ...]
    """Ids of the findings, worst first."""


class Cards:
    """The cards of a run. Reading a million findings takes seconds, so keep it.

    Args:
        run: a finished run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        index = run.findings_index
        names = [cell_value(name) for name in index["sample_id"]]
        ids = index["finding_id"].tolist()
        partners = _partners(run, index)
        checks = index["check"].tolist()
        conflict_of: dict[str, tuple[str, ...]] = {}
        for finding, name, check in zip(ids, names, checks, strict=True):
            if check == CONFLICTS and name is not None and finding in partners:
                pair = tuple(sorted((name, partners[finding])))
                for half in pair:
                    conflict_of.setdefault(half, pair)
        members: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._key_of: dict[str, tuple[str, ...]] = {}
        self._of_image: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for finding, name, check in zip(ids, names, checks, strict=True):
            if name is None:
                key: tuple[str, ...] = ("", finding)
            elif finding in partners:
                key = tuple(sorted((name, partners[finding])))
            else:
                key = conflict_of.get(name, (name,)) if check in OF_LABELS else (name,)
            members[key].append(finding)
            self._key_of[finding] = key
        for key in members:
            for name in key if key[0] else ():
                self._of_image[name].append(key)
        self._members = dict(members)
        self._about: dict[str, tuple[str | None, str]] = dict(zip(ids, zip(names, checks, strict=True), strict=True))

    def of(self, card: str) -> Card | None:
        """Return the card of a finding, or of ``row:`` and a row; None if the run has no such finding or row."""
        if card.startswith(_ROW):
            row = card[len(_ROW) :]
            if not row.isdecimal() or int(row) >= len(self._run):
                return None
            name = str(self._run.sample_ids[int(row)])
            found = self._members.get((name,), [])
            return Card(card, (name,), tuple(found))
        key = self._key_of.get(card)
        return None if key is None else self._card(key)

    def first(self, findings: Sequence[str]) -> list[str]:
        """Return the first finding of each card among these, in their order."""
        return list({self._key_of[finding]: finding for finding in reversed(findings)}.values())[::-1]

    def about(self, finding: str) -> tuple[str | None, str]:
        """Return the sample id of a finding's image, None for a class or the dataset, and the finding's check."""
        return self._about[finding]

    def with_image(self, name: str) -> list[Card]:
        """Return the cards that show an image."""
        return [self._card(key) for key in self._of_image.get(name, [])]

    def _card(self, key: tuple[str, ...]) -> Card:
        found = self._members[key]
        return Card(found[0], key if key[0] else (), tuple(found))


def row_id(row: int) -> str:
    """Return the id of the card of an image, with or without findings."""
    return f"{_ROW}{row}"


def settle(
    cards: Cards,
    card: Card,
    samples: Mapping[str, Mapping[str, Any]],
    verdict: str,
    *,
    reviewer: str,
    label: str | None = None,
    which: int | None = None,
    note: str = "",
) -> list[Decision]:
    """Return the decisions that settle a card, for `audit.review.decisions.Decisions.append`.

    Each finding gets one decision. Of several findings of one check only the first counts for the check's precision: both halves of a pair are one
    finding. A verdict that says nothing about a finding is stored without a check, so it does not count either.

    Args:
        cards: all cards of the run.
        card: the card.
        samples: as `identified` returns it, for the card's images.
        verdict: one of `audit.review.decisions.VERDICTS`. ``relabel`` concerns the images whose label differs.
        reviewer: the reviewer's name.
        label: the correct label, for ``relabel``.
        which: for a pair and ``drop``, the position of the dropped image in ``card.images``; None drops both.
        note: a comment, stored with the first decision.

    Raises:
        AuditError: ``relabel`` without a label or about a class, or ``drop`` about a class.
    """
    if verdict in ("relabel", "drop") and not card.images:
        raise AuditError(card.id, f"{verdict} applies to images only", "decide accept, keep or unsure")
    if verdict == "relabel" and not label:
        raise AuditError(card.id, "relabel without a label", "choose the correct label")
    of_image = {name: _of_image(position, samples[name], verdict, label, which) for position, name in enumerate(card.images)}
    decided: list[Decision] = []
    counted: set[str] = set()
    for finding in card.findings:
        name, check = cards.about(finding)
        own = of_image[name] if name is not None else verdict
        if own == "relabel" and check not in OF_LABELS and len(card.images) == 1:
            own, counts = "unsure", False  # a new label says nothing about a blurred image
        else:
            counts = check not in counted and (verdict in ("keep", "relabel") or not counted)
        counted |= {check} if counts else set()
        decided.append(
            Decision(
                verdict=own,
                reviewer=reviewer,
                finding_id=finding,
                check=check if counts else None,
                label=label if own == "relabel" else None,
                note="" if decided else note,
                **samples.get(name or "", {}),
            )
        )
    settled = {decision.sample_id for decision in decided if decision.verdict == of_image.get(decision.sample_id or "")}
    for name, own in of_image.items():
        if (own in ("drop", "relabel") and name not in settled) or not card.findings:
            new = label if own == "relabel" else None
            decided.append(Decision(verdict=own, reviewer=reviewer, label=new, note="" if decided else note, **samples[name]))
    leaving = {name for name, own in of_image.items() if own == "drop"}
    known = {decision.finding_id for decision in decided}
    return decided + [further for name in sorted(leaving) for further in _left_with(cards, name, samples[name], reviewer, known)]


def _of_image(position: int, sample: Mapping[str, Any], verdict: str, label: str | None, which: int | None) -> str:
    """Return the verdict about one image of a card: the other half of a pair is right if only one is changed."""
    if verdict == "relabel" and sample["given_label"] == label:
        return "accept"
    return "accept" if verdict == "drop" and which is not None and which != position else verdict


def _left_with(cards: Cards, name: str, sample: Mapping[str, Any], reviewer: str, known: Collection[str | None]) -> list[Decision]:
    """Return decisions about the remaining findings of a dropped image: it leaves with all of them."""
    own = [finding for card in cards.with_image(name) for finding in card.findings if finding not in known and cards.about(finding)[0] == name]
    return [Decision(verdict="drop", reviewer=reviewer, finding_id=finding, **sample) for finding in own]


def identified(run: Run, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return sample id -> the fields of a decision that identify the image."""
    rows = run.rows_of(names)
    columns = run.columns("content_id", "label", rows=rows)
    found = {}
    for name, content, label in zip(names, columns["content_id"], columns["label"], strict=True):
        ordinal, copies = run.identical_copies.get(name, (0, 1))
        content_id = identity(cell_value(content), name)
        found[name] = {"content_id": content_id, "ordinal": ordinal, "copies": copies, "sample_id": name, "given_label": cell_value(label)}
    return found


def _partners(run: Run, index: pd.DataFrame) -> dict[str, str]:
    """Return finding id -> sample id of the image that its image was compared with."""
    checks = [str(check) for check, part in index[index["sample_id"].notna()].groupby("check", observed=True) if _has_partner(run, part)]
    rows = run.read_findings(index[index["check"].isin(checks) & index["sample_id"].notna()])
    found = {}
    for finding, evidence in zip(rows["finding_id"], rows["evidence"], strict=True):
        named = _PARTNER.search(evidence)
        if named:
            found[str(finding)] = str(json.loads(f'"{named[1]}"'))
    return found


def _has_partner(run: Run, part: pd.DataFrame) -> bool:
    return bool(run.read_findings(part.head(1))["evidence"].map(lambda text: _PARTNER.search(text) is not None).any())

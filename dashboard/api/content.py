"""What the review panel shows on a card and on a tile, as plain data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.images.boxes import boxes_of
from audit.review.cards import CONFLICTS, OF_LABELS
from audit.review.consensus import groups_gone
from audit.tables import cell_value
from dashboard.api.desk import Verdicts
from dashboard.api.typical import likeliest, typical
from dashboard.api.verdicts import verdict_name
from reports.content.evidence import evidence_lines
from reports.content.wording import check_title, label, percent, subject, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from audit.review.cards import Card
    from dashboard.api.desk import Desk

CHOICES = 3
"""Classes with a key of their own: among the three likeliest is nearly always the right one."""
NEAREST, EXAMPLES, OF_GROUP = 8, 6, 6
_SHOWN = frozenset({"neighbors", "probabilities", "copies", "label", "partner_label", "votes_of_neighbors", "list_precision"})
"""Evidence that the card shows as images or with its buttons."""


def cards(desk: Desk, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the panel shows of some cards, in their order; unknown ones are left out."""
    known = [(name, card) for name in ids if (card := desk.cards.of(name)) is not None]
    describe = _Describer(desk, [card for _, card in known])
    return [describe.card(name, card) for name, card in known]


def tiles(desk: Desk, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the grid shows of some cards, in their order; unknown ones are left out."""
    known = [(name, card) for name in ids if (card := desk.cards.of(name)) is not None]
    describe = _Describer(desk, [card for _, card in known])
    return [describe.tile(name, card) for name, card in known]


class _Describer:
    """Describes cards; what they need is read at once."""

    def __init__(self, desk: Desk, shown: Sequence[Card]) -> None:
        self._desk, self._run = desk, desk.run
        self._words: Mapping[str, str] = self._run.record.get("class_words") or {}
        self._standing = desk.standing()
        self._verdicts = Verdicts(self._standing)
        wanted = {finding for card in shown for finding in card.findings}
        index = self._run.findings_index
        rows = self._run.read_findings(index[index["finding_id"].isin(wanted)])
        self._findings = {str(row["finding_id"]): _plain(row) for row in rows.to_dict("records")}
        names = list(dict.fromkeys([*(name for card in shown for name in card.images), *self._named_examples()]))
        self._row_of = dict(zip(names, self._run.rows_of(names).tolist(), strict=True)) if names else {}
        self._facts: dict[int, dict[str, Any]] = {}

    def card(self, name: str, card: Card) -> dict[str, Any]:
        """Return one card."""
        findings = [self._findings[finding] for finding in card.findings]
        rows = [row for image in card.images if (row := self._row_of[image]) >= 0]
        first = findings[0] if findings else None
        return {
            "id": name,
            "kind": "pair" if len(card.images) == 2 else "image" if card.images else "group",
            "about": "" if card.images or first is None else _capital(subject(None, first["label"], first["subject"], self._words)),
            "findings": [self._finding(finding) for finding in findings],
            "images": self._images(rows, self._boxes(findings)),
            "choices": self._choices(rows, findings),
            "actions": _actions(card, findings, labelled=bool(self._run.classes or self._labelled(rows))),
            "examples": self._examples(card, rows, findings),
            "near": self._near(rows[0]) if card.images and rows else [],
            "members": self._members(rows) if len(rows) == 2 else [],
            "verdict": self._verdicts.of(card),
            "decisions": self._decisions(card),
            "warning": self._warning(card, rows),
            "saliency": len(rows) == 1 and any(finding["check"] in ("label_errors", "outliers") for finding in findings),
            "classes": [finding["label"] for finding in findings[:1] if not card.images and finding["label"]]
            + [finding["suggested_label"] for finding in findings[:1] if not card.images and finding["suggested_label"]],
        }

    def tile(self, name: str, card: Card) -> dict[str, Any]:
        """Return one tile: its images, what is claimed, and the verdict."""
        findings = [self._findings[finding] for finding in card.findings]
        own = next((finding for finding in findings if finding["finding_id"] == name), findings[0] if findings else None)
        rows = [row for image in card.images if (row := self._row_of[image]) >= 0]
        if not card.images and own is not None:
            rows = [row for image in _examples_of(own) if (row := self._row_of.get(image, -1)) >= 0][:1]
        suggested = next((finding["suggested_label"] for finding in findings if finding["suggested_label"]), None)
        return {
            "id": name,
            "images": self._images(rows, []),
            "claim": title(own["kind"]) if own else "",
            "severity": own["severity"] if own else "",
            "about": "" if card.images or own is None else _capital(subject(None, own["label"], own["subject"], self._words)),
            "suggested": suggested and label(suggested, self._words),
            "score": _score(own) if own else "",
            "verdict": self._verdicts.of(card),
        }

    def _named_examples(self) -> Iterable[str]:
        return (name for finding in self._findings.values() for name in _examples_of(finding))

    def _finding(self, finding: Mapping[str, Any]) -> dict[str, Any]:
        evidence = {key: value for key, value in finding["evidence"].items() if key not in _SHOWN}
        suggested = finding["suggested_label"]
        return {
            "id": finding["finding_id"],
            "check": check_title(finding["check"]),
            "kind": title(finding["kind"]),
            "severity": finding["severity"],
            "level": title(finding["severity"]),
            "message": finding["message"],
            "suggested": suggested and label(suggested, self._words),
            "image": finding["sample_id"],
            "evidence": [["Score", f"{finding['score']:.2f}"], *map(list, evidence_lines(finding["check"], evidence, self._words))],
            "verdict": self._verdicts.of_finding.get(finding["finding_id"]),
        }

    def _images(self, rows: Sequence[int], boxes: Sequence[Any]) -> list[dict[str, Any]]:
        return [self._image(row) | ({"boxes": boxes} if boxes and position == 0 else {}) for position, row in enumerate(rows)]

    def _image(self, row: int) -> dict[str, Any]:
        self._read([row])
        return dict(self._facts[row])

    def _read(self, rows: Sequence[int]) -> None:
        fresh = [row for row in dict.fromkeys(rows) if row not in self._facts]
        if not fresh:
            return
        columns = self._run.columns("sample_id", "label", "split", "width", "height", "outcome", rows=np.array(fresh, np.int64))
        for row, facts in zip(fresh, columns.to_dict("records"), strict=True):
            given, split, width, height = (cell_value(facts[name]) for name in ("label", "split", "width", "height"))
            self._facts[row] = {
                "row": row,
                "name": facts["sample_id"],
                "label": given,
                "text": label(given, self._words),
                "split": split,
                "size": f"{int(width)} × {int(height)}" if width and height else "",  # noqa: RUF001 - the sign between width and height
                "ratio": round(width / height, 4) if width and height else 1,
                "shown": facts["outcome"] == "ok",
            }

    def _labelled(self, rows: Sequence[int]) -> bool:
        self._read(rows)
        return any(self._facts[row]["label"] for row in rows)

    def _boxes(self, findings: Sequence[Mapping[str, Any]]) -> list[Any]:
        return [list(box) for finding in findings for box in boxes_of(finding["evidence"])][:20]

    def _choices(self, rows: Sequence[int], findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the classes that have a key: of a pair, both labels; then what a check suggests, and the likeliest by the predictions."""
        if not rows or not (self._run.classes or self._labelled(rows)):
            return []
        self._read(rows)
        given = [self._facts[row]["label"] for row in rows]
        likely = dict(likeliest(self._run, rows[0], given[0], CHOICES))
        suggested = [finding["suggested_label"] for finding in findings if finding["suggested_label"] and finding["check"] in OF_LABELS]
        names: list[str | None]
        if len(rows) == 2:
            names = [*given, *(suggested or list(likely))] if given[0] != given[1] else []
        else:
            names = [name for name in [*suggested[:1], *likely, *suggested[1:]] if name != given[0]]
        chosen = list(dict.fromkeys(name for name in names if name))[:CHOICES]
        return [{"label": name, "text": label(name, self._words), "share": likely.get(name)} for name in chosen]

    def _examples(self, card: Card, rows: Sequence[int], findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return rows of examples: the given and the suggested class of an image; of a class, its images."""
        if card.images:
            if len(rows) == 2 and not any(finding["check"] == CONFLICTS for finding in findings):
                return []
            self._read(rows)
            given = list(dict.fromkeys(self._facts[row]["label"] for row in rows if self._facts[row]["label"]))
            other = [choice["label"] for choice in self._choices(rows, findings)]
            classes = list(dict.fromkeys([*given, *other]))[:2]
            return [self._row_of_examples(label(name, self._words), typical(self._run, name), besides=rows, given=name in given) for name in classes]
        own = findings[0]
        given_class, predicted = own["label"], own["suggested_label"]
        if given_class and predicted and given_class in self._run.classes and predicted in self._run.classes:
            one, two = label(given_class, self._words), label(predicted, self._words)
            return [
                self._row_of_examples(f"{one}, predicted correctly", typical(self._run, given_class), most=EXAMPLES),
                self._row_of_examples(f"{one} predicted as {two}", typical(self._run, given_class, predicted), most=EXAMPLES),
                self._row_of_examples(f"{two}, predicted correctly", typical(self._run, predicted), most=EXAMPLES),
            ]
        named = [row for name in _examples_of(own) if (row := self._row_of.get(name, -1)) >= 0]
        if named:
            examples = self._row_of_examples("Examples", named, most=2 * EXAMPLES)
            boxes = [list(box) for box in boxes_of(own["evidence"])]
            for position, image in enumerate(examples["images"] if boxes else []):
                image["boxes"] = [boxes[position if len(boxes) == len(named) else 0]]
            return [examples]
        found = typical(self._run, given_class) if given_class else ()
        return [self._row_of_examples("Images of the class", found, most=2 * EXAMPLES)] if found else []

    def _row_of_examples(
        self, text: str, rows: Sequence[int], *, besides: Sequence[int] = (), most: int = EXAMPLES, given: bool = False
    ) -> dict[str, Any]:
        chosen = [row for row in rows if row not in besides][:most]
        self._read(chosen)
        return {"title": text, "given": given, "images": [self._image(row) for row in chosen]}

    def _near(self, row: int) -> list[dict[str, Any]]:
        try:
            near, similarity = self._run.neighbors_of(row)
        except AuditError:
            return []
        valid = np.flatnonzero(near >= 0)[:NEAREST]
        self._read(near[valid].tolist())
        return [self._image(int(near[at])) | {"similarity": round(float(similarity[at]), 3)} for at in valid]

    def _members(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the other images of the duplicate set of a pair."""
        try:
            pairs = self._run.pairs
        except AuditError:
            return []
        groups = pairs.loc[(pairs["i"].isin(rows) | pairs["j"].isin(rows)) & (pairs["group"] >= 0), "group"].unique()
        of_groups = pairs[pairs["group"].isin(groups)]
        found = [row for row in np.unique(of_groups[["i", "j"]].to_numpy(np.int64)).tolist() if row not in rows][: 2 * OF_GROUP]
        self._read(found)
        return [self._image(row) for row in found]

    def _decisions(self, card: Card) -> list[dict[str, str]]:
        """Return what reviewers decided about the card, one line for each reviewer and verdict, with the note."""
        standing = self._standing
        own = standing[standing["finding_id"].isin(card.findings) | (standing["finding_id"].isna() & standing["sample_id"].isin(card.images))]
        lines: dict[tuple[str, str], str] = {}
        for decision in own.to_dict("records"):
            to = f" to {label(decision['label'], self._words)}" if decision["label"] else ""
            key = (decision["reviewer"], verdict_name(decision["verdict"]) + to)
            lines[key] = lines.get(key, "") or decision["note"]
        return [{"reviewer": who, "verdict": what, "note": note} for (who, what), note in lines.items()]

    def _warning(self, card: Card, rows: Sequence[int]) -> str:
        """Warn if a copy is already dropped: accepting every proposal would drop them all."""
        drops = self._standing[(self._standing["verdict"] == "drop") & self._standing["sample_id"].notna()]["sample_id"].unique().tolist()
        if len(rows) != 2 or not drops:
            return ""
        gone = {int(row) for row in self._run.rows_of(drops)}
        for row, name in zip(rows, card.images, strict=True):
            if row not in gone and any(row in group for group in groups_gone(self._run, np.array(sorted({*gone, row}), np.int64))):
                return f"All other copies of {name} are already dropped. If you drop it too, none is left."
        dropped = [name for name in card.images if name in drops]
        return f"{dropped[0]} is already dropped." if dropped else ""


def _actions(card: Card, findings: Sequence[Mapping[str, Any]], *, labelled: bool) -> list[str]:
    """Return the verdicts that apply to a card."""
    if not card.images:
        return ["accept", "keep", "unsure"]
    about_labels = any(finding["check"] in OF_LABELS for finding in findings)
    pair = len(card.images) == 2
    relabels = labelled and (not pair or about_labels)
    accepts = not pair and any(finding["check"] not in OF_LABELS for finding in findings)
    return ["keep", *(["accept"] if accepts else []), *(["relabel"] if relabels else []), "drop", "unsure"]


def _score(finding: Mapping[str, Any]) -> str:
    wrong = finding["evidence"].get("probability_wrong")
    return f"{percent(wrong)} likely wrong" if isinstance(wrong, int | float) else f"score {finding['score']:.2f}"


def _examples_of(finding: Mapping[str, Any]) -> list[str]:
    named = finding["evidence"].get("examples") if finding["sample_id"] is None else None
    return [name for name in named if isinstance(name, str)][: 2 * EXAMPLES] if isinstance(named, list) else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row of findings with decoded evidence, and None for missing values."""
    return {str(name): cell_value(value) for name, value in record.items()} | {"evidence": json.loads(str(record["evidence"]))}

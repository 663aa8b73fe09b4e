"""Evidence of a finding as text: titles and units come from its check, classes are shown by their words. Nothing is escaped here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from audit.checks import discover
from audit.checks.base import Evidence
from reports.content.wording import cut, label, percent, title

MOST = 6
"""Listed entries of one evidence value; the others are counted."""

_LONGEST = 300
_LONGEST_IN_A_LIST = 48
"""Characters of a value, and of one entry of a list: a class name may be a sentence."""

_SMALLEST_P = 1e-4
"""Smaller p-values are shown as below this."""

_DRAWN = ("partner", "examples", "box", "boxes")
"""Keys shown as images or drawn on them."""


def evidence_lines(check: str, evidence: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return evidence as titles and short texts, without empty values and those drawn on images.

    Args:
        check: name of the check; if it is not installed, keys are used as titles and numbers have no unit.
        evidence: the decoded evidence of a finding.
        words: label -> its words, where labels are codes.

    >>> evidence_lines("marks", {"share_of_class": 0.6, "adjusted_p": 1e-30}, {})
    [('Share of the class', '60.0%'), ('Adjusted p-value', '<0.0001')]
    >>> evidence_lines("conflicting_labels", {"votes_of_neighbors": {"cat": 2, "dog": 9}}, {})
    [('Labels of the nearest images', 'dog 9, cat 2')]
    """
    known = discover()
    writer = _Writer(known[check].evidence if check in known else {}, words)
    shown = {key: value for key, value in evidence.items() if key not in _DRAWN and value is not None and value not in ([], {})}
    return [(writer.entry(key).title, cut(writer.text(key, value), _LONGEST)) for key, value in shown.items()]


class _Writer:
    """Formats the values of one check's evidence."""

    def __init__(self, entries: Mapping[str, Evidence], words: Mapping[str, str]) -> None:
        self._entries = entries
        self._words = words

    def entry(self, key: str) -> Evidence:
        """Return title and unit of a key; an unlisted key is its own title."""
        return self._entries.get(key) or Evidence(title(key))

    def text(self, key: str, value: Any) -> str:
        """Return one value as text."""
        if isinstance(value, Mapping):
            return self._mapping(key, value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return self._list(key, value)
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int | float):
            return self._number(key, value)
        return title(value) if self.entry(key).unit == "name" else label(str(value), self._words)

    def _number(self, key: str, value: float) -> str:
        unit = self.entry(key).unit
        if unit == "p":
            return f"<{_SMALLEST_P:.4f}" if value < _SMALLEST_P else f"{value:.2g}"
        if unit == "share" and 0 <= value <= 1:
            return percent(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"

    def _mapping(self, key: str, value: Mapping[str, Any]) -> str:
        numbers = all(isinstance(number, int | float) for number in value.values())
        if numbers and (self.entry(key).by_name or not self._entries.keys() & value.keys()):
            ordered = sorted(value.items(), key=lambda item: (-item[1], item[0]))
            return _some([f"{cut(label(name, self._words), _LONGEST_IN_A_LIST)} {self._number(key, number)}" for name, number in ordered], ", ")
        if key == "source":  # its values need no keys
            return _some([str(entry) for entry in value.values()], ", ")
        nested = any(isinstance(entry, Mapping) for entry in value.values())
        names = {name: label(name, self._words) if self.entry(key).by_name else self.entry(name).title.lower() for name in value}
        parts = [f"{names[name]}{':' if nested else ''} {self.text(name, entry)}" for name, entry in value.items() if entry is not None]
        return _some(parts, "; " if nested else ", ")

    def _list(self, key: str, value: Sequence[Any]) -> str:
        if value and all(isinstance(entry, int | float) for entry in value):
            numbers = [self._number(key, entry) for entry in value]
            if key == "list_precision" and len(numbers) == 3:
                return f"{numbers[0]} ({numbers[1]} to {numbers[2]})"
            return " to ".join(numbers) if key.endswith("interval") else ", ".join(numbers)
        if value and all(isinstance(entry, Mapping) and "label" in entry for entry in value):
            counts = Counter(cut(label(entry["label"], self._words), _LONGEST_IN_A_LIST) for entry in value).most_common()
            return _some([f"{name} x {number}" for name, number in counts], ", ")
        if any(isinstance(entry, Mapping) for entry in value):
            return _some([self.text(key, entry) for entry in value], "; ")
        return _some([cut(self.text(key, entry), _LONGEST_IN_A_LIST) for entry in value], ", ")


def _some(parts: Sequence[str], separator: str) -> str:
    more = len(parts) - MOST
    return separator.join(parts[:MOST]) + (f" and {more:,} more" if more > 0 else "") or "none"

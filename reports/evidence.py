"""Evidence of a finding in words: names from a glossary, classes by their words, the largest first, shares in percent. Nothing is escaped here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.wording import cut, label, percent, title

MOST = 6
"""Entries of one piece of evidence that are listed; more are counted."""

_LONGEST = 300
_LONGEST_IN_A_LIST = 48
"""Characters of a value, and of one entry of a list: a class may be called by a sentence."""

_SMALLEST_P = 1e-4
"""Smaller probabilities are only said to be smaller: how many zeros there are tells nobody anything."""

_DRAWN = ("partner", "examples", "box", "boxes")
"""Shown as pictures and on them."""

_NAMES = {
    "adjusted_p": "p, corrected for many tests",
    "auc": "AUC (0.5 by chance, 1 always)",
    "by": "Grouped by",
    "chroma": "Colour",
    "classes_given_away": "Classes given away",
    "classes_judged": "Of classes",
    "confident": "Share by the confident joint",
    "conflicting_copies": "Copies with another label",
    "copies": "Copies with another label",
    "cosine": "Likeness of the embeddings",
    "deviations": "Deviations from the usual",
    "families": "Metadata held",
    "given_probability": "Probability of the given label",
    "hamming": "Bits of the perceptual hash that differ, of 64",
    "label": "Given label",
    "label_health": "Health of the labels",
    "label_quality": "Share of right labels",
    "label_quality_interval": "Its 95% interval",
    "dataset_quality": "In the dataset",
    "label_set": "Labels that may be right",
    "list_precision": "Wrong labels expected in the list down to here",
    "lost": "Detail lost in the centre crop",
    "luma_p01": "Darkest parts",
    "luma_p99": "Brightest parts",
    "median_of_class": "Median of the class",
    "median_of_rest": "Median of the other classes",
    "much_lost": "Images that lose much",
    "nearest": "Nearest image",
    "nearest_label": "Its label",
    "neighbors": "Nearest images",
    "p": "p",
    "partner_label": "Label of the other image",
    "pictures": "Different pictures",
    "probability_wrong": "Probability that the label is wrong",
    "share_back": "Share the other way",
    "share_interval": "Its 95% interval",
    "share_of_class": "Share of the class",
    "share_of_rest": "Share of the other classes",
    "similarity": "Likeness to the nearest image",
    "typical": "Typical images",
    "usual": "Usual",
    "usual_similarity": "Usual likeness in the class",
    "votes_of_neighbors": "Labels of the nearest images",
}
"""Keys of evidence of which their own words do not tell what they are."""

_CODES = ("by", "family", "measure", "property", "relation")
"""Keys whose values are names of ours."""

_SHARES = {
    "certainty",
    "confident",
    "dataset_quality",
    "expected",
    "given_probability",
    "interval",
    "label_health",
    "label_quality",
    "label_quality_interval",
    "list_precision",
    "lost",
    "probabilities",
    "probability_wrong",
    "rate",
    "share",
    "share_back",
    "share_interval",
    "share_of_class",
    "share_of_rest",
    "shares",
    "unsure",
    "worst_classes",
}
"""Keys whose numbers are shares, 0..1."""


def evidence_lines(evidence: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return evidence as name and short text, without what is drawn and what is empty.

    Args:
        evidence: as a finding has it, decoded.
        words: label -> its words, where labels are codes.

    >>> evidence_lines({"share_of_class": 0.6, "votes_of_neighbors": {"cat": 2, "dog": 9}, "adjusted_p": 1e-30}, {})
    [('Share of the class', '60.0%'), ('Labels of the nearest images', 'dog 9, cat 2'), ('p, corrected for many tests', '<0.0001')]
    """
    # The usual value of a measure is in the measure's unit; where there is no unit, what is usual is a share.
    shares = _SHARES if "unit" in evidence or "auc" in evidence else _SHARES | {"usual"}
    if "auc" in evidence:
        shares = shares - {"interval"}
    told = {key: thing for key, thing in evidence.items() if key not in _DRAWN and thing is not None and thing not in ([], {})}
    return [(named(key), cut(_said(key, thing, words, shares), _LONGEST)) for key, thing in told.items()]


def named(key: str) -> str:
    """Return the name of a piece of evidence for people."""
    return _NAMES.get(key) or title(key)


def _said(key: str, thing: Any, words: Mapping[str, str], shares: set[str]) -> str:
    if isinstance(thing, Mapping):
        return _mapping(key, thing, words, shares)
    if isinstance(thing, Sequence) and not isinstance(thing, str):
        return _list(key, thing, words, shares)
    if thing is None:
        return "none"
    if isinstance(thing, bool):
        return "yes" if thing else "no"
    if isinstance(thing, int | float):
        return _number(key, thing, shares)
    return named(thing) if key in _CODES else label(str(thing), words)


def _number(key: str, thing: float, shares: set[str]) -> str:
    if key in ("p", "adjusted_p"):
        return f"<{_SMALLEST_P:.4f}" if thing < _SMALLEST_P else f"{thing:.2g}"
    if key in shares and 0 <= thing <= 1:
        return percent(thing)
    return f"{thing:,}" if isinstance(thing, int) else f"{thing:.3g}"


def _mapping(key: str, thing: Mapping[str, Any], words: Mapping[str, str], shares: set[str]) -> str:
    if all(isinstance(entry, int | float) for entry in thing.values()) and not _SHARES & set(thing):
        ordered = sorted(thing.items(), key=lambda item: (-item[1], item[0]))
        return _some([f"{cut(label(name, words), _LONGEST_IN_A_LIST)} {_number(key, number, shares)}" for name, number in ordered], ", ")
    if key == "source":  # its values say themselves what they are
        return _some([str(entry) for entry in thing.values()], ", ")
    nested = any(isinstance(entry, Mapping) for entry in thing.values())
    parts = [
        f"{named(name).lower()}{':' if nested else ''} {_said(name, entry, words, shares)}" for name, entry in thing.items() if entry is not None
    ]
    return _some(parts, "; " if nested else ", ")


def _list(key: str, thing: Sequence[Any], words: Mapping[str, str], shares: set[str]) -> str:
    if thing and all(isinstance(entry, int | float) for entry in thing):
        numbers = [_number(key, entry, shares) for entry in thing]
        if key == "list_precision" and len(numbers) == 3:
            return f"{numbers[0]} ({numbers[1]} to {numbers[2]})"
        return " to ".join(numbers) if key.endswith("interval") else ", ".join(numbers)
    if thing and all(isinstance(entry, Mapping) and "label" in entry for entry in thing):
        counts = Counter(cut(label(entry["label"], words), _LONGEST_IN_A_LIST) for entry in thing).most_common()
        return _some([f"{name} x {number}" for name, number in counts], ", ")
    if any(isinstance(entry, Mapping) for entry in thing):
        return _some([_said(key, entry, words, shares) for entry in thing], "; ")
    return _some([cut(_said(key, entry, words, shares), _LONGEST_IN_A_LIST) for entry in thing], ", ")


def _some(parts: Sequence[str], separator: str) -> str:
    more = len(parts) - MOST
    return separator.join(parts[:MOST]) + (f" and {more:,} more" if more > 0 else "") or "none"

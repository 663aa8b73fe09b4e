"""How reports and the dashboard write checks, kinds, classes, shares and times. Nothing is escaped here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.content.summary import CheckTotal

CLASSES_SHOWN = 5
"""Classes listed with which the label check cannot help."""

_TITLES = {
    "chroma": "Color",
    "exif_rotated": "EXIF-rotated",
    "fewer_pictures_than_images": "Many copies",
    "gps": "GPS",
    "info": "Note",
    "luma_p01": "Darkest parts",
    "luma_p99": "Brightest parts",
    "re_encoded": "Re-encoded",
    "same_picture": "Same image",
    "unsure": "Not sure",
}
"""Titles that cannot be derived from the name."""


def title(name: str) -> str:
    """Return the title of a kind, severity or verdict.

    >>> title("re_encoded"), title("gps"), title("info")
    ('Re-encoded', 'GPS', 'Note')
    """
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def check_title(name: str) -> str:
    """Return a check's ``TITLE``, or its name in words if it is not installed."""
    from audit.checks import discover

    known = discover()
    return known[name].heading if name in known else title(name)


def label(name: str | None, words: Mapping[str, str]) -> str:
    """Return a class's name: with its words if the label is a code.

    >>> label("n01440764", {"n01440764": "tench, Tinca tinca"})
    'tench (n01440764)'
    """
    if name is None:
        return "no label"
    return f"{words[name].partition(',')[0]} ({name})" if words.get(name) else name


def self_test(record: Mapping[str, Any]) -> str | None:
    """Return the estimated label noise and the outcome of the self-test in sentences; None if the run has none.

    Args:
        record: the run's record.
    """
    try:
        found = record["stages"]["predictions"]["self_test"]
        low, high = found["wrong_share_interval"]
        shown = [str(name) for name in found["cannot_help"][:CLASSES_SHOWN]]
        more = len(found["cannot_help"]) - len(shown)
        text = (
            f"An estimated {percent(found['wrong_share'])} of the labels are wrong ({percent(low)} to {percent(high)}). {_systematic(record)}"
            f"Self-test: of {found['changed']:,} labels that were changed on purpose, {found['found']:,} were flagged "
            f"({percent(found['found_random'])} of those changed to a random class, {percent(found['found_confusable'])} of those changed to "
            f"the most similar one), among {found['flagged']:,} flags."
        )
    except (KeyError, TypeError, ValueError):
        return None
    return text + (f" It cannot help with {', '.join(shown)}{f' and {more:,} more classes' if more else ''}." if shown else "")


def _systematic(record: Mapping[str, Any]) -> str:
    """Return a sentence about the classes of which a part is labelled another class, with a space after it; empty if there are none."""
    pairs = record["stages"]["predictions"].get("label_noise", {}).get("systematic", [])
    shown = [f"{rate:.0%} of the images of {true} are labelled {given} ({images:,} images)" for true, given, rate, images in pairs[:CLASSES_SHOWN]]
    more = len(pairs) - len(shown)
    return f"At least about {', '.join(shown)}{f', and so on for {more:,} more pairs of classes' if more > 0 else ''}. " if shown else ""


def subject(sample_id: str | None, of_class: str | None, kind: str, words: Mapping[str, str]) -> str:
    """Return the subject of a finding: an image's name, a class, a group or the dataset.

    Args:
        sample_id: name of the image, or None.
        of_class: label of the class, or None.
        kind: one of ``audit.tables.SUBJECTS``.
        words: label -> its words, where labels are codes.

    >>> subject("a.jpg", "cat", "sample", {}), subject(None, "cat", "class", {}), subject(None, None, "dataset", {})
    ('a.jpg', 'class cat', 'whole dataset')
    """
    if sample_id is not None:
        return sample_id
    if of_class is not None:
        return f"class {label(of_class, words)}"
    return "a group of images" if kind == "group" else "whole dataset"


def percent(share: float) -> str:
    """Format a share as a percentage; only 1 is shown as 100%, and only 0 as 0%.

    >>> percent(1.0), percent(0.9999), percent(0.5), percent(0.0001)
    ('100%', '>99.9%', '50.0%', '<0.1%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    return ">99.9%" if share > 0.999 else "<0.1%" if share < 0.001 else f"{share:.1%}"


def flagged(total: CheckTotal) -> str:
    """Return the subjects of a check's errors and warnings: numbers of images, classes and groups, and the whole dataset."""
    numbers = ((total.flagged, "image", "images"), (total.classes, "class", "classes"), (total.groups, "group", "groups"))
    parts = [f"{number:,} {one if number == 1 else many}" for number, one, many in numbers if number]
    return ", ".join([*parts, *(["whole dataset"] if total.dataset else [])])


def health(total: CheckTotal) -> str:
    """Return the share of images without an error or warning of a check; a dash if none of these is about an image."""
    return "-" if total.without_image else percent(total.health)


def cut(text: str, length: int) -> str:
    """Shorten text to at most this length.

    >>> cut("a long sentence", 8)
    'a long…'
    """
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def when(time: str) -> str:
    """Format an ISO 8601 time to the minute; return any other text unchanged.

    >>> when("2026-01-31T12:00:59.123+00:00")
    '2026-01-31 12:00 UTC'
    """
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return time

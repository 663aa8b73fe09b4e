"""Other people's text (file names, classes, notes, metadata) made safe to show: Streamlit reads most strings as Markdown."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from audit.findings import one_line

_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation})


def literal(text: object) -> str:
    r"""Return Markdown that shows exactly this text: no markup, no link, no image, no emoji code, one line, nothing invisible.

    >>> literal("![x](http://a.b)")
    '\\!\\[x\\]\\(http\\:\\/\\/a\\.b\\)'
    """
    return one_line(str(text)).translate(_ESCAPES)


def short(text: object, length: int = 36) -> str:
    """Return text cut in its middle, where paths differ least.

    >>> short("train/n01440764/picture-000001.jpeg", 20)
    'train/n0…000001.jpeg'
    """
    whole = one_line(str(text))
    if len(whole) <= length:
        return whole
    head = (length - 1) * 2 // 5 + (length - 1) % 2
    return f"{whole[:head]}…{whole[len(whole) - (length - 1 - head) :]}"


def title(name: str) -> str:
    """Return the name of a check or a kind for people.

    >>> title("label_errors")
    'Label errors'
    """
    return name.replace("_", " ").capitalize()


def label(name: str | None, words: Mapping[str, str]) -> str:
    """Return a class for people, not yet escaped: its words where the label is a code.

    >>> label("n01440764", {"n01440764": "tench, Tinca tinca"})
    'tench (n01440764)'
    """
    if name is None:
        return "no label"
    return f"{words[name].partition(',')[0]} ({name})" if words.get(name) else name


def value(thing: Any) -> str:
    """Return a value of the evidence for people, not yet escaped."""
    if isinstance(thing, float):
        return f"{thing:.3g}"
    if isinstance(thing, list):
        return ", ".join(value(entry) for entry in thing) or "none"
    if isinstance(thing, Mapping):
        return ", ".join(f"{name} {value(entry)}" for name, entry in thing.items()) or "none"
    return "none" if thing is None else str(thing)

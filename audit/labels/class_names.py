"""Names of classes in messages: the label, followed by its words if it is a code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 40
"""Characters of words shown in a message; WordNet lists every synonym."""


def class_name(label: str, words: Mapping[str, str]) -> str:
    """Return a label as a message shows it.

    >>> class_name("n01440764", {"n01440764": "tench, Tinca tinca"})
    "'n01440764' (tench)"
    >>> class_name("cat", {})
    "'cat'"
    """
    known = words.get(label)
    if not known or known == label:
        return repr(label)
    first = known.split(",")[0].strip() or known
    return f"{label!r} ({first if len(first) <= _LONGEST else first[: _LONGEST - 1] + '…'})"

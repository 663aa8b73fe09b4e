"""Escape untrusted text (file names, classes, notes, metadata), because Streamlit reads most strings as Markdown."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from audit.run.findings import one_line
from reports.content.wording import check_title

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reports.content.summary import Skipped

_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation})


def literal(text: object) -> str:
    r"""Return Markdown that shows exactly this text on one line: no markup, links, images, emoji codes or invisible characters.

    >>> literal("![x](http://a.b)")
    '\\!\\[x\\]\\(http\\:\\/\\/a\\.b\\)'
    """
    return one_line(str(text)).translate(_ESCAPES)


def short(text: object, length: int = 36) -> str:
    """Shorten text in the middle, where paths differ least.

    >>> short("train/n01440764/picture-000001.jpeg", 20)
    'train/n0…000001.jpeg'
    """
    whole = one_line(str(text))
    if len(whole) <= length:
        return whole
    head = (length - 1) * 2 // 5 + (length - 1) % 2
    return f"{whole[:head]}…{whole[len(whole) - (length - 1 - head) :]}"


def reasons(skipped: Iterable[Skipped]) -> str:
    """Return a Markdown list of skipped checks with the reasons."""
    return "\n".join(f"- **{literal(check_title(check.name))}**: {literal(check.reason)}" for check in skipped)

"""Escape untrusted text in Markdown: no links, headings, HTML, table cells or mentions."""

from __future__ import annotations

import re

from audit.io.console import safe

_SPECIAL = re.compile(r"([\\`*_{}\[\]!|~$^])")
_CALLS = re.compile(r"(?i)[@#]|://|www\.")
"""Text that GitHub and GitLab turn into a mention, an issue or a link."""


def escape(text: str) -> str:
    r"""Return text that Markdown renders literally.

    >>> escape("<b>*a*|@me"), escape("x\ny")
    ('&lt;b&gt;\\*a\\*\\|@<!-- -->me', 'x\\\\ny')
    """
    plain = _SPECIAL.sub(r"\\\1", safe(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _CALLS.sub(lambda found: f"{found[0][0]}<!-- -->{found[0][1:]}", plain)


def code(text: str) -> str:
    r"""Return text as a code span that also works inside a table.

    >>> code("a`b|c")
    '``a`b\\|c``'
    """
    plain = safe(text).replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{fence}{space}{plain}{space}{fence}"

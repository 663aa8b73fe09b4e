"""Other people's text in Markdown: it can start no link, no heading, no HTML, no table cell, and call on nobody."""

from __future__ import annotations

import re

from audit.io.console import safe

_SPECIAL = re.compile(r"([\\`*_{}\[\]!|~$^])")
_CALLS = re.compile(r"(?i)[@#]|://|www\.")
"""What a forge makes a mention, an issue or a link of, wherever it stands."""


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is.

    >>> escape("<b>*a*|@me"), escape("x\ny")
    ('&lt;b&gt;\\*a\\*\\|@<!-- -->me', 'x\\\\ny')
    """
    plain = _SPECIAL.sub(r"\\\1", safe(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _CALLS.sub(lambda found: f"{found[0][0]}<!-- -->{found[0][1:]}", plain)


def code(text: str) -> str:
    r"""Return text as a code span, also inside a table.

    >>> code("a`b|c")
    '``a`b\\|c``'
    """
    plain = safe(text).replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{fence}{space}{plain}{space}{fence}"

"""Where in a TOML file a key stands: ``tomllib`` gives the values, people need the line."""

from __future__ import annotations

import tomllib
from typing import Any


def lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    r"""Return the line, from 1, of every table and key; that of the first where an array of tables repeats one.

    Args:
        text: TOML that ``tomllib`` reads.

    >>> lines_of_keys("a = 1\n[b]\nc.d = 2\n")
    {('a',): 1, ('b',): 2, ('b', 'c'): 3, ('b', 'c', 'd'): 3}
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start if statement else number
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        header = statement.lstrip().startswith("[")
        statement = ""
        paths = _paths(content)
        if header and paths:
            table = paths[-1]
        for path in paths:
            found.setdefault(path if header else (*table, *path), start)
    return found


def _paths(content: Any) -> list[tuple[str, ...]]:
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        return []
    return [path for key, value in content.items() for path in ((key,), *((key, *below) for below in _paths(value)))]

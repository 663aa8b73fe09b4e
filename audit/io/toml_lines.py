"""Line numbers of the keys in a TOML file, which ``tomllib`` does not return."""

from __future__ import annotations

import tomllib
from typing import Any

Key = tuple[str | int, ...]
"""Path of a value: names of tables and keys; the name of an array of tables is followed by an index, from 0."""


def lines_of_keys(text: str) -> dict[Key, int]:
    r"""Return the line, from 1, of every table and key.

    Args:
        text: TOML that ``tomllib`` reads.

    >>> lines_of_keys("a = 1\n[b]\nc.d = 2\n")
    {('a',): 1, ('b',): 2, ('b', 'c'): 3, ('b', 'c', 'd'): 3}
    >>> lines_of_keys("[[a]]\n[[a]]\nb = 1\n")
    {('a',): 1, ('a', 0): 1, ('a', 1): 2, ('a', 1, 'b'): 3}
    """
    found: dict[Key, int] = {}
    arrays: dict[Key, int] = {}  # array of tables -> number of tables so far
    table: Key = ()
    statement, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start if statement else number
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a value that continues on the next line
        opening, statement = statement.lstrip()[:2], ""
        paths = _paths(content)
        if not opening.startswith("["):
            paths = [(*table, *path) for path in paths]
        elif paths:
            table = _numbered(paths[-1], arrays)
            if opening == "[[":
                arrays[table] = arrays.get(table, 0) + 1
                table = (*table, arrays[table] - 1)
            paths += [table[:-1], table] if opening == "[[" else [table]
        for path in paths:
            found.setdefault(path, start)
    return found


def _numbered(path: Key, arrays: dict[Key, int]) -> Key:
    """Return a table's path with indices: a table below an array of tables belongs to the last one."""
    numbered: Key = ()
    for name in path[:-1]:
        numbered = (*numbered, name)
        numbered = (*numbered, arrays[numbered] - 1) if numbered in arrays else numbered
    return (*numbered, path[-1])


def _paths(content: Any) -> list[Key]:
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        return []
    return [path for key, value in content.items() for path in ((key,), *((key, *below) for below in _paths(value)))]

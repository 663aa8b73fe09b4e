"""Errors that name the thing, where it is and how to fix it.

AuditError              any error that the user can fix; the command line prints it in one line and exits with 2
├── SourceError         the dataset: missing, empty, a label file that does not match
├── ConfigError         an option, an ``audit.toml`` or a ``[tool.imagenet-audit]`` table
├── BackboneError       a model: unknown, weights not reachable, a checkpoint that does not match
└── RunError            a run directory: not a run, corrupt, written by a newer version, not writable
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AuditError(Exception):
    """Base of all errors that the user can fix.

    Args:
        where: the subject of the error: a path, ``labels.csv:17``, an option's name.
        problem: what is wrong, with the offending value.
        hint: how to fix it.
    """

    def __init__(self, where: object, problem: str, hint: str) -> None:
        self.where = str(where)
        self.problem = problem
        self.hint = hint
        super().__init__(self.where, problem, hint)

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.hint}"


class SourceError(AuditError):
    """The dataset cannot be listed or does not match its description."""


class ConfigError(AuditError):
    """An option has an unknown name or an invalid value."""


class BackboneError(AuditError):
    """An image model cannot be loaded."""


class RunError(AuditError):
    """A run directory cannot be opened, read or written."""


def reason(error: BaseException) -> str:
    """Return an exception's message as one line of at most 300 characters; the name of its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


_NAMED = 30
"""Maximum number of known names in a hint."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest known name, or a list of known names.

    >>> nearest("blured", ["blurred", "dark"])
    "did you mean 'blurred'?"
    >>> nearest("x", ["train", "val"])
    'known: train, val'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names[:_NAMED])}{more}"


def of_an_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is an interrupt or was raised while handling one, such as by a lock that was being acquired."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None

"""Interface through which a scan reports progress."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives a scan's progress; the command line draws bars from it."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage with ``total`` units of work, None if unknown."""
        ...

    def advance(self, count: int) -> None:
        """Add ``count`` finished units of the current stage."""
        ...

    def note(self, message: str) -> None:
        """Report a one-line note for the user."""
        ...


class _Silent:
    def stage(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass


SILENT: Observer = _Silent()
"""Ignores all progress."""

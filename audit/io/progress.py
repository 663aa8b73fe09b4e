"""How a scan says how far it is, without printing anything itself."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told of a scan's progress; the command line draws bars from it."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins; ``total`` units of work lie ahead, or None where that is unknown."""
        ...

    def advance(self, count: int) -> None:
        """``count`` more units of the current stage are done."""
        ...

    def note(self, message: str) -> None:
        """Something a person should know, in one line."""
        ...


class _Silent:
    def stage(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass


SILENT: Observer = _Silent()
"""Ignores everything it is told."""

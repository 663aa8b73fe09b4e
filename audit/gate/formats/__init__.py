"""Reports of the gate: one module per format, with ``render(gate) -> str``. The output is deterministic."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.gate.gate import Gate

FORMATS = ("github", "gitlab", "junit", "markdown", "sarif")
"""Names of the formats and of their modules."""


def render(name: str, gate: Gate) -> str:
    """Return a gate in one of `FORMATS`."""
    write: Callable[[Gate], str] = import_module(f"{__name__}.{name}").render
    return write(gate)

"""What became of a policy, written for the places where people look: one module per format, ``render(gate) -> str``, bytes that repeat."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.gate.gate import Gate

FORMATS = ("github", "gitlab", "junit", "markdown", "sarif")
"""Names of the formats, each the name of its module."""


def render(name: str, gate: Gate) -> str:
    """Return a gate in one of `FORMATS`."""
    write: Callable[[Gate], str] = import_module(f"{__name__}.{name}").render
    return write(gate)

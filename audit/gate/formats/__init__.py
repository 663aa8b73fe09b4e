"""The verdict on a policy as a report for other tools: one module per format, ``render(gate) -> str``, the same bytes each time.

Other distributions add formats through the entry-point group ``imagenet_audit.gate_formats`` (``name = "package.module"``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.io.plugins import GATE_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.gate.gate import Gate

FORMATS = tuple(GATE_FORMATS.find())
"""Names of the formats."""


def render(name: str, gate: Gate) -> str:
    """Return a gate in one of `FORMATS`."""
    write: Callable[[Gate], str] = GATE_FORMATS.get(name).load().render
    return write(gate)

"""Which page shows the findings of a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.checks import discover

if TYPE_CHECKING:
    from audit.checks.base import Family
    from audit.run.run import Run


def checks_of(run: Run, family: Family) -> tuple[str, ...]:
    """Return the names of the checks whose findings a page shows; checks of the run that are not installed belong to ``quality``."""
    known = discover()
    return tuple(name for name in sorted({*known, *run.record.get("checks", {})}) if (known[name].family if name in known else "quality") == family)

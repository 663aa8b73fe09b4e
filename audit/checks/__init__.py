"""The checks, one module each: ``discover`` finds them, ``run_check`` runs one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from audit.checks.base import Check, Finding, Missing, Result, Skipped, read_check
from audit.io.plugins import CHECKS
from audit.pipeline.check_execution import run_check

__all__ = ["Check", "Finding", "Missing", "Result", "Skipped", "discover", "run_check"]

_NOT_YET_MOVED = ("option_ranges", "robust_statistics")


@cache
def discover() -> Mapping[str, Check]:
    """Return every check by its name, sorted by name.

    Raises:
        AuditError: two checks have the same name, one cannot be imported, or a module does not have the shape of a check.
    """
    found = {name: plugin for name, plugin in CHECKS.find().items() if name not in _NOT_YET_MOVED}
    return MappingProxyType({name: read_check(name, plugin.load()) for name, plugin in found.items()})

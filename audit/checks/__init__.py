"""The checks, one module each: ``discover`` finds them. Every module but ``base`` is a check."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from audit.checks.base import Check, Finding, Missing, Result, Skipped, read_check
from audit.io.plugins import CHECKS

__all__ = ["Check", "Finding", "Missing", "Result", "Skipped", "discover"]


@cache
def discover() -> Mapping[str, Check]:
    """Return every check by its name, sorted by name.

    Raises:
        AuditError: two checks have the same name, one cannot be imported, or a module does not have the shape of a check.
    """
    return MappingProxyType({name: read_check(name, plugin.load()) for name, plugin in CHECKS.find().items()})

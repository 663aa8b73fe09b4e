"""The checks: one module each. Every module except ``base`` is a check; ``discover`` finds them."""

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
        AuditError: Two checks have the same name, a check cannot be imported, or a module does not have the required parts.
    """
    return MappingProxyType({name: read_check(name, plugin.load()) for name, plugin in CHECKS.find().items()})

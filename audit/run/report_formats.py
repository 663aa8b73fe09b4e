"""The formats of reports: functions ``(Run) -> str`` that the entry-point group ``imagenet_audit.formats`` names.

The module of such a function may define ``ENDINGS``, the endings of its files, the usual one first, and ``FILE``, the name of its file in the folder
of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from audit.errors import AuditError
from audit.io.plugins import REPORT_FORMATS


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """One format of reports."""

    name: str
    render: Callable[..., str]
    endings: tuple[str, ...]
    """In lower case, with the dot; empty where no ending means this format."""
    file: str
    """Name of its file in the run's folder."""


def report_format(name: str) -> ReportFormat:
    """Load a format. Raises AuditError where it is not installed or cannot be loaded."""
    plugin = REPORT_FORMATS.get(name)
    render = plugin.load()
    if not callable(render):
        raise AuditError(plugin.origin, f"is a {type(render).__name__}, not a function (Run) -> str", "update or uninstall its package")
    module = sys.modules.get(getattr(render, "__module__", ""))
    endings = tuple(getattr(module, "ENDINGS", ()))
    return ReportFormat(name, render, endings, getattr(module, "FILE", f"report{endings[0]}" if endings else f"{name}.txt"))


def report_formats() -> Mapping[str, ReportFormat]:
    """Load all formats that can be loaded; the others fail where they are named."""
    found: dict[str, ReportFormat] = {}
    for name in REPORT_FORMATS.find():
        with suppress(AuditError):
            found[name] = report_format(name)
    return found

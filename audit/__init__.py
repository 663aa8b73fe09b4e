"""imagenet-audit: find problems in an image-classification dataset, ranked and explained.

>>> import audit
>>> run = audit.scan("photos/", "run/")  # doctest: +SKIP
>>> run.findings.head()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.errors import AuditError

if TYPE_CHECKING:
    from audit.config import ScanOptions
    from audit.pipeline.scan import scan
    from audit.run.run import Run, open_run

__all__ = ["AuditError", "Run", "ScanOptions", "open_run", "scan"]

_HOMES = {"scan": "audit.pipeline.scan", "Run": "audit.run.run", "open_run": "audit.run.run", "ScanOptions": "audit.config"}


def __getattr__(name: str) -> Any:
    """Import the heavy modules at first use, so that ``imagenet-audit --help`` is instant."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

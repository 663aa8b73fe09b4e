"""Engines run the two long passes of a scan: reading images and searching neighbors. All engines produce the same tables."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from audit.engines.base import Engine, Job
from audit.engines.local import LocalEngine

if TYPE_CHECKING:
    from audit.config import ScanOptions

__all__ = ["Engine", "Job", "LocalEngine", "open_engine"]


def open_engine(options: ScanOptions) -> AbstractContextManager[Engine]:
    """Return the requested engine, importing Ray only for it. Raises ConfigError if Ray is not installed or no cluster answers at the address."""
    if options.engine == "ray":
        from audit.engines.ray.engine import RayEngine

        return RayEngine(options.address)
    return nullcontext(LocalEngine())

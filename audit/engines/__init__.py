"""Where the two long passes of a scan run: reading images and searching neighbors. Whichever engine does it, the tables are the same."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from audit.engines.base import Engine, Job
from audit.engines.local import LocalEngine

if TYPE_CHECKING:
    from audit.config import ScanOptions

__all__ = ["Engine", "Job", "LocalEngine", "open_engine"]


def open_engine(options: ScanOptions) -> AbstractContextManager[Engine]:
    """Return the engine that was asked for; Ray is imported only here.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    if options.engine == "ray":
        from audit.engines.ray.engine import RayEngine

        return RayEngine(options.address)
    return LocalEngine()

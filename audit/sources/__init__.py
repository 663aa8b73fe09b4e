"""Where a dataset's images come from: one module per way of storing them, all yielding the same rows."""

from __future__ import annotations

from audit.sources.base import Sample, Source

__all__ = ["Sample", "Source"]

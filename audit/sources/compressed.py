"""Gzipped archives: readable, but only from the start."""

from __future__ import annotations

import gzip
from typing import BinaryIO, cast

from audit.sources.storage import Storage


def is_gzip(path: str) -> bool:
    """Return whether a path has a gzip's ending."""
    return path.lower().endswith((".gz", ".tgz"))


def open_gzip(storage: Storage, path: str) -> BinaryIO:
    """Open a gzipped file as its uncompressed bytes. Going back starts again from the first byte."""
    return cast("BinaryIO", gzip.GzipFile(fileobj=storage.open(path), mode="rb"))

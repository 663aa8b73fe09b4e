"""Gzipped archives: readable, but only from the start."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from audit.sources.storage import Storage


def is_gzip(path: str) -> bool:
    """Return whether a path has a gzip's ending."""
    return path.lower().endswith((".gz", ".tgz"))


@contextmanager
def open_gzip(storage: Storage, path: str) -> Iterator[BinaryIO]:
    """Open a gzipped file as its uncompressed bytes. Going back starts again from the first byte."""
    with storage.open(path) as packed, gzip.GzipFile(fileobj=packed, mode="rb") as file:
        yield cast("BinaryIO", file)

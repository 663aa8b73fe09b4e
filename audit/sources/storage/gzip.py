"""Gzipped archives: readable, but only from the start onward."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import BinaryIO, cast

from audit.sources.storage.files import Storage


def is_gzip(path: str) -> bool:
    """Return whether a path has a gzip's ending."""
    return path.lower().endswith((".gz", ".tgz"))


@contextmanager
def open_gzip(storage: Storage, path: str) -> Iterator[BinaryIO]:
    """Open a gzipped file as its uncompressed bytes. Going back starts again from the first byte."""
    with storage.open(path) as packed, gzip.GzipFile(fileobj=packed, mode="rb") as file:
        yield cast("BinaryIO", file)


class GzipReader:
    """Reads ranges of a gzipped file's content through one stream that stays open, so that reading forward costs one pass in all.

    A range before the last one starts the stream again: a scan reads in the order of names, which archives made from folders mostly have too.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage, self._path = storage, path
        self._start()

    def __getstate__(self) -> tuple[Storage, str]:
        return self._storage, self._path

    def __setstate__(self, state: tuple[Storage, str]) -> None:
        self._storage, self._path = state
        self._start()

    def _start(self) -> None:
        self._lock = Lock()
        self._stream: BinaryIO | None = None
        self._open = ExitStack()

    def read_range(self, offset: int, size: int) -> bytes:
        """Return ``size`` uncompressed bytes from ``offset``. Raises OSError where the file ends before."""
        with self._lock:
            if self._stream is None:
                self._stream = self._open.enter_context(open_gzip(self._storage, self._path))
            try:
                self._stream.seek(offset)
                data = self._stream.read(size)
            except (EOFError, OSError):
                self._open.close()
                self._stream = None
                raise
        if len(data) != size:
            raise OSError(f"{self._storage.location} ends inside the member at byte {offset}")
        return data

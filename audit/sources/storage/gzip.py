"""Gzipped archives, which can only be read sequentially."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import BinaryIO, cast

from audit.sources.storage.files import Storage, require_size

_FREE = 1 << 30
"""Bytes that may be read at any expansion."""
_MOST_EXPANSION = 200
_STEP = 64 << 20


def is_gzip(path: str) -> bool:
    """Return whether a path has a gzip extension."""
    return path.lower().endswith((".gz", ".tgz"))


@contextmanager
def open_gzip(storage: Storage, path: str) -> Iterator[BinaryIO]:
    """Open a gzipped file as its uncompressed bytes. Seeking backwards restarts from the first byte."""
    with storage.open(path) as packed, _Bounded(fileobj=packed, mode="rb") as file:
        yield cast("BinaryIO", file)


class _Bounded(gzip.GzipFile):
    """Stops at data that expands without measure, as zeros do 1,000 times: images are compressed already."""

    def read(self, size: int | None = -1) -> bytes:
        """Return uncompressed bytes. Raises OSError if the file expands too much."""
        data = super().read(size)
        self._require_measure()
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, in steps. Raises OSError if the file expands too much."""
        if whence == io.SEEK_SET:
            while self.tell() + _STEP < offset:
                before = self.tell()
                super().seek(before + _STEP)
                self._require_measure()
                if self.tell() == before:  # the end
                    break
        return super().seek(offset, whence)

    def _require_measure(self) -> None:
        packed = cast("BinaryIO", self.fileobj).tell()
        if self.tell() > _FREE and self.tell() > _MOST_EXPANSION * packed:
            raise OSError(f"expands more than {_MOST_EXPANSION} times, like a decompression bomb")


class GzipReader:
    """Reads ranges of a gzipped file's content through one stream that stays open, so that sequential reads cost one pass in total.

    A range before the previous one restarts the stream. A scan reads in name order, which most archives of folders share.
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
        """Return ``size`` uncompressed bytes from ``offset``. Raises OSError if the file is too short or the range is too large."""
        require_size(size)
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

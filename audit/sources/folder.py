"""A directory of images: ``split/class/image``, ``class/image``, flat, or the extracted trees of tiny-imagenet and ILSVRC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from audit.errors import SourceError
from audit.images.signatures import HEAD_BYTES
from audit.sources.annotations.tree import Entry, TreeSource
from audit.sources.base import Source, SourceOptions
from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape, is_inside, unescape
from audit.sources.storage.problems import Problem

KIND = "folder"
RANK = 90
OPTIONS = frozenset({"labels_file", "layout"})


class FolderTree:
    """The files below a directory."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every file and empty folder below the directory."""
        for path, fingerprint in self.storage.walk(ignored, problems):
            yield Entry(path, escape(path), fingerprint)

    def read(self, source_ref: str) -> bytes:
        """Return a file's bytes. Raises OSError."""
        path = unescape(source_ref)
        if not is_inside(path):
            raise PermissionError(f"{source_ref!r} is outside of {self.storage.location}")
        return self.storage.read(self.storage.join(self.storage.root, path))

    def head(self, source_ref: str) -> bytes:
        """Return the first bytes of a local file. Raises OSError."""
        if self.storage.protocol is not None:
            return b""
        with self.storage.open(self.storage.join(self.storage.root, unescape(source_ref))) as file:
            return file.read(HEAD_BYTES)


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a directory."""
    storage = Storage(location, options.storage_options)
    return storage.what_is(storage.root) == "folder"


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a directory. Raises SourceError."""
    if not matches(location, options):
        raise SourceError(location, "is not a folder", "pass a folder, or let `kind` be auto")
    return TreeSource(KIND, location, FolderTree(Storage(location, options.storage_options)), options)

"""A tar of a folder tree, read in place: each member is one ranged read at its offset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from audit.images.signatures import HEAD_BYTES
from audit.sources.annotations.tree import Entry, TreeSource
from audit.sources.base import Source, SourceOptions
from audit.sources.storage.files import Storage, require_file
from audit.sources.storage.gzip import GzipReader, is_gzip, open_gzip
from audit.sources.storage.problems import Problem
from audit.sources.storage.tar_members import read_members

KIND = "tar"
RANK = 50
OPTIONS = frozenset({"labels_file", "layout"})

ENDINGS = (".tar", ".tar.gz", ".tgz")


class TarTree:
    """The files in one tar, plain or gzipped."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._packed = GzipReader(storage, storage.root) if is_gzip(storage.root) else None

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every regular member. Raises SourceError if the file is not a tar."""
        root = self.storage.root
        with open_gzip(self.storage, root) if is_gzip(root) else self.storage.open(root) as file:
            for member in read_members(file, self.storage.location, self.storage.fingerprint(root), ignored, problems):
                yield Entry(member.path, f"{member.offset}+{member.size}", member.fingerprint)

    def read(self, source_ref: str) -> bytes:
        """Return a member's bytes. Raises OSError."""
        offset, plus, size = source_ref.partition("+")
        if not plus or not offset.isdigit() or not size.isdigit():
            raise FileNotFoundError(f"{source_ref!r} is not in {self.storage.location}")
        if self._packed is not None:
            return self._packed.read_range(int(offset), int(size))
        return self.storage.read_range(self.storage.root, int(offset), int(size))

    def head(self, source_ref: str) -> bytes:
        """Return the first bytes of a member of a local archive that is not compressed. Raises OSError."""
        if self.storage.protocol is not None or self._packed is not None:
            return b""
        offset, _, size = source_ref.partition("+")
        return self.storage.read_range(self.storage.root, int(offset), min(int(size), HEAD_BYTES))


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a file with a tar extension."""
    storage = Storage(location, options.storage_options)
    return location.lower().endswith(ENDINGS) and storage.what_is(storage.root) == "file"


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a tar. Raises SourceError."""
    storage = Storage(location, options.storage_options)
    require_file(storage, KIND)
    return TreeSource(KIND, location, TarTree(storage), options)

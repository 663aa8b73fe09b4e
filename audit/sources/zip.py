"""A zip of a folder tree, read in place: each member is one ranged read at its offset."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator

from audit.errors import SourceError
from audit.images.signatures import HEAD_BYTES
from audit.sources.annotations.tree import Entry, TreeSource
from audit.sources.base import Source, SourceOptions
from audit.sources.storage.files import Storage, require_file
from audit.sources.storage.names import UNSAFE, safe_relative
from audit.sources.storage.problems import NOT_LISTED, Problem

KIND = "zip"
RANK = 50
OPTIONS = frozenset({"labels_file", "layout"})

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""PKWARE's APPNOTE 4.3.7; the lengths of name and extra field are its last two values."""


_MOST_BYTES = 1 << 30
"""A larger member is not decompressed: a small archive can hold more than the memory."""


class ZipTree:
    """The files in one zip."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every member. Raises SourceError if the file is not a zip."""
        root, name = self.storage.root, self.storage.location
        encrypted = 0
        try:
            with self.storage.open(root) as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise SourceError(name, f"is not a readable zip ({error})", "download it again, or check that it is complete") from error
        if not members:
            raise SourceError(name, "is a zip without members", "download it again, or check that it is complete")
        for member in members:
            path = safe_relative(member.filename)
            if member.is_dir():
                continue
            if path is None:
                ignored[UNSAFE] += 1
            elif member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                encrypted += 1
            else:
                ref = f"{member.header_offset}+{member.compress_size}+{member.file_size}+{member.compress_type}+{member.CRC:08x}"
                yield Entry(path, ref, f"{member.file_size}-{member.CRC:08x}")
        if encrypted:
            problem = f"{encrypted:,} members of {name} are encrypted or compressed in a way that is not supported, and are not listed"
            evidence = {"archive": name, "entries": encrypted}
            problems.append(
                Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="extract the zip and scan the folder", evidence=evidence)
            )

    def read(self, source_ref: str) -> bytes:
        """Return a member's bytes. Raises OSError if they are corrupt."""
        data = self._content(source_ref, None)
        if f"{zlib.crc32(data):08x}" != source_ref.rpartition("+")[2]:
            raise OSError(f"a member of {self.storage.location} is corrupt: its checksum differs")
        return data

    def head(self, source_ref: str) -> bytes:
        """Return the first bytes of a member of a local zip. Raises OSError."""
        return b"" if self.storage.protocol is not None else self._content(source_ref, HEAD_BYTES)

    def _content(self, source_ref: str, most: int | None) -> bytes:
        try:
            offset, packed, size, method = (int(part) for part in source_ref.split("+")[:4])
        except ValueError:
            raise FileNotFoundError(f"{source_ref!r} is not in {self.storage.location}") from None
        header = _LOCAL_HEADER.unpack(self.storage.read_range(self.storage.root, offset, _LOCAL_HEADER.size))
        start = offset + _LOCAL_HEADER.size + header[-2] + header[-1]
        wanted = size if most is None else min(size, most)
        if wanted > _MOST_BYTES:
            raise OSError(f"a member of {self.storage.location} has {size:,} bytes, more than any image")
        if method == zipfile.ZIP_STORED:
            return self.storage.read_range(self.storage.root, start, min(packed, wanted))
        data = self.storage.read_range(self.storage.root, start, packed if most is None else min(packed, 2 * most))
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, max(wanted, 1))  # never more than the directory says
        except zlib.error as error:
            raise OSError(f"a member of {self.storage.location} is corrupt: {error}") from error


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a file with the extension of a zip."""
    storage = Storage(location, options.storage_options)
    return location.lower().endswith(".zip") and storage.what_is(storage.root) == "file"


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a zip. Raises SourceError."""
    storage = Storage(location, options.storage_options)
    require_file(storage, KIND)
    return TreeSource(KIND, location, ZipTree(storage), options)

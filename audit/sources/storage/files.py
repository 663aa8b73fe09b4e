"""Files, local or behind any fsspec URL, opened for reading only."""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import unquote, urlsplit

from audit.errors import AuditError, SourceError
from audit.sources.storage.names import HIDDEN, is_hidden, sample_id
from audit.sources.storage.problems import NOT_LISTED, Problem

MISSING = "missing"
"""The fingerprint of a file that is not there."""
_ETAGS = ("ETag", "etag", "md5", "md5Hash", "content_md5", "crc32c", "checksum", "sha256")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_ON_THIS_MACHINE = frozenset({"file", "local", "memory", "zip", "tar", "libarchive", "dir", "simplecache", "filecache", "blockcache"})
"""Protocols of fsspec that reach no network by themselves; any other may, also one that is not known here."""

_offline: ContextVar[bool] = ContextVar("offline", default=False)


@contextmanager
def network_forbidden(*, forbidden: bool) -> Iterator[None]:
    """Refuse to open what is not on this machine, wherever a dataset names it: its place, its label files, the rows of a manifest."""
    before = _offline.set(forbidden)
    try:
        yield
    finally:
        _offline.reset(before)


def require_reachable(location: str, *, error: type[AuditError] = SourceError, where: str | None = None) -> None:
    """Refuse a location that is reached over the network, where the network is forbidden. Raises ``error`` about ``where``, or the location."""
    protocols = {part.split("://", 1)[0] for part in location.split("::") if "://" in part}
    if _offline.get() and protocols - _ON_THIS_MACHINE:
        raise error(where or location, "is reached over the network, which `offline` forbids", "leave `offline` out, or copy it to this machine")


class Storage:
    """The files at and below one place. Picklable; connections and handles are made where they are used.

    Args:
        location: a local path or an fsspec URL.
        options: passed to fsspec.
    """

    def __init__(self, location: str, options: Mapping[str, object] | None = None) -> None:
        self.options = dict(options or {})
        self.protocol: str | None = None
        if location.startswith("file://"):
            location = unquote(urlsplit(location).path)
        elif "://" in location:
            self.protocol = location.split("://", 1)[0]
            require_reachable(location)
        self.location = location

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self.location, "protocol": self.protocol, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        return cast("tuple[Any, str]", fsspec.core.url_to_fs(self.location, **self.options))

    @property
    def root(self) -> str:
        """The place itself, as the other methods take it."""
        return self.location if self.protocol is None else self._remote[1]

    def resolve(self, path: str) -> str:
        """Return a path or URL of the same storage as the other methods take it; relative ones are kept."""
        return cast("str", self._remote[0]._strip_protocol(path)) if self.protocol is not None and "://" in path else path  # noqa: SLF001 - fsspec's own spelling

    def join(self, folder: str, name: str) -> str:
        """Return the path of a name in a folder."""
        return os.path.join(folder, name) if self.protocol is None else f"{folder.rstrip('/')}/{name}"  # noqa: PTH118 - names may hold any byte

    def parent(self, path: str) -> str:
        """Return the folder a path lies in."""
        return str(Path(path).absolute().parent) if self.protocol is None else path.rstrip("/").rpartition("/")[0]

    def what_is(self, path: str) -> Literal["file", "folder"] | None:
        """Return what lies at a path."""
        if self.protocol is None:
            return "folder" if os.path.isdir(path) else "file" if os.path.exists(path) else None  # noqa: PTH110, PTH112 - names may hold any byte
        filesystem = self._remote[0]
        return "folder" if filesystem.isdir(path) else "file" if filesystem.exists(path) else None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        if self.what_is(folder) != "folder":
            return []
        if self.protocol is None:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names may hold any byte
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in self._remote[0].ls(folder, detail=True))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading and seeking. Raises OSError."""
        return open(path, "rb") if self.protocol is None else cast("BinaryIO", self._remote[0].open(path, "rb"))  # noqa: PTH123

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises OSError."""
        if self.protocol is not None:
            return cast("bytes", self._remote[0].cat_file(path))
        with self.open(path) as file:
            return file.read()

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Return some of a file's bytes in one request. Raises OSError where the file ends before."""
        if self.protocol is not None:
            data = cast("bytes", self._remote[0].cat_file(path, start=offset, end=offset + size)) if size else b""
        else:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - opening is cheap; handles kept would run out on a thousand shards
                file.seek(offset)
                data = _read_fully(file, size)
        if len(data) != size:
            raise OSError(f"{path} ends after {offset + len(data)} bytes, inside a member that should reach byte {offset + size}")
        return data

    def size(self, path: str) -> int:
        """Return a file's size in bytes. Raises OSError."""
        return os.stat(path).st_size if self.protocol is None else int(self._remote[0].size(path))  # noqa: PTH116

    def fingerprint(self, path: str) -> str:
        """Return what is known of a file's state without reading it: size and modification time, or a store's own tag."""
        try:
            if self.protocol is None:
                return _local_fingerprint(os.stat(path))  # noqa: PTH116
            return _remote_fingerprint(self._remote[0].info(path))
        except (OSError, ValueError):  # ValueError: no file's name holds a null byte
            return MISSING

    def fingerprints(self, folder: str) -> dict[str, str] | None:
        """Return the fingerprint of every file of a folder by its path, for a few requests; None where a store cannot list folders."""
        if self.protocol in (None, "http", "https"):
            return None
        try:
            return {entry["name"]: _remote_fingerprint(entry) for entry in self._remote[0].ls(folder, detail=True)}
        except OSError:
            return {}

    def walk(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
        """Yield every file below the root as its relative path ('/' separated) and fingerprint.

        A folder of a disk that holds nothing, hidden names apart, is yielded too, as a path that ends with a '/'; object stores have no such folders.
        Symbolic links are followed, but no folder through a second link nor through one that leads back to a folder it lies in, so that loops end.
        Hidden names, devices and pipes are counted in ``ignored``; remote folders that cannot be listed are added to the problems.
        """
        return self._walk_local(ignored) if self.protocol is None else self._walk_remote(ignored, problems)

    def _walk_local(self, ignored: Counter[str]) -> Iterator[tuple[str, str]]:
        top = os.stat(self.root)  # noqa: PTH116
        followed: set[tuple[int, int]] = set()
        pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(self.root, "", frozenset({(top.st_dev, top.st_ino)}))]
        while pending:
            folder, prefix, above = pending.pop()
            below = []
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            if prefix and all(is_hidden(entry.name) for entry in entries):
                yield prefix, ""
            for entry in entries:
                path = prefix + entry.name
                if is_hidden(entry.name):
                    ignored[HIDDEN] += 1
                    continue
                try:
                    state = entry.stat()
                except OSError:  # a link to nothing is a sample whose bytes are missing
                    yield path, MISSING
                    continue
                if stat.S_ISREG(state.st_mode):
                    yield path, _local_fingerprint(state)
                elif stat.S_ISDIR(state.st_mode):
                    identity = (state.st_dev, state.st_ino)
                    if entry.is_symlink():
                        if identity in above or identity in followed:
                            ignored["(repeated link)"] += 1
                            continue
                        followed.add(identity)
                    below.append((entry.path, path + "/", above | {identity}))
                else:
                    ignored["(special file)"] += 1
            pending.extend(reversed(below))

    def _walk_remote(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
        filesystem, root = self._remote
        skip = len(root.rstrip("/")) + 1
        pending = [root]
        while pending:
            folder = pending.pop()
            try:
                entries = sorted(filesystem.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
            except OSError as error:
                problem = f"{folder} could not be listed ({sample_id(' '.join(str(error).split()) or type(error).__name__)})"
                problems.append(Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="check access and connection, then scan again"))
                continue
            for info in entries:
                path = info["name"].rstrip("/")[skip:]
                if not path or info["name"].rstrip("/") == folder.rstrip("/"):  # the folder itself, as object stores may list it
                    continue
                if is_hidden(path):
                    ignored[HIDDEN] += 1
                elif info["type"] == "directory":
                    pending.append(info["name"])
                else:
                    yield path, _remote_fingerprint(info)


def require_file(storage: Storage, kind: str) -> None:
    """Refuse a place that is no file, for a kind of source that is one. Raises SourceError."""
    found = storage.what_is(storage.root)
    if found == "folder":
        raise SourceError(storage.location, f"is a folder; a source of the kind {kind} is one file", "name that file, or leave out `kind`")
    if found is None:
        raise SourceError(storage.location, "there is no such file", "check the spelling")


def _read_fully(file: io.FileIO, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _local_fingerprint(state: os.stat_result) -> str:
    return f"{state.st_size}-{state.st_mtime_ns}"


def _remote_fingerprint(info: Mapping[str, Any]) -> str:
    tag = next((str(info[key]) for key in _ETAGS if info.get(key)), None)
    time = next((str(info[key]) for key in _TIMES if info.get(key)), "")
    return f"{info.get('size')}-{tag if tag is not None else time}"

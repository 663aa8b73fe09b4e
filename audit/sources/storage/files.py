"""Read-only access to files, local or behind any fsspec URL."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import unquote, urlsplit

from audit.errors import AuditError, SourceError, reason
from audit.sources.storage.names import HIDDEN, is_hidden, sample_id
from audit.sources.storage.problems import NOT_LISTED, HiddenImages, Problem, Tally

MISSING = "missing"
"""The fingerprint of a file that does not exist."""
_ETAGS = ("ETag", "etag", "md5", "md5Hash", "content_md5", "crc32c", "checksum", "sha256")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_LOCAL_PROTOCOLS = frozenset({"file", "local", "memory", "zip", "tar", "libarchive", "dir", "simplecache", "filecache", "blockcache"})
"""fsspec protocols that do not use the network by themselves; any other one may."""

LISTED_PROTOCOLS = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf"})
"""Protocols of images that a table may list. Others read local files or other processes' memory, start programs, or expand templates."""

DEFAULT_MAX_BYTES = 512 << 20
"""Larger files and members are not read: as much as an uncompressed image of the highest allowed number of pixels."""

_HIDDEN_FOLDERS = 10_000
"""Folders of a hidden folder that are searched for images."""

_max_bytes: ContextVar[int] = ContextVar("max_bytes", default=DEFAULT_MAX_BYTES)
_offline: ContextVar[bool] = ContextVar("offline", default=False)


class TooLargeError(OSError):
    """A file or member is larger than the limit of `at_most`."""


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Refuse to read whole files and members that are larger than a number of bytes."""
    before = _max_bytes.set(size)
    try:
        yield
    finally:
        _max_bytes.reset(before)


def require_size(size: int | None) -> None:
    """Refuse a size above the limit. Raises TooLargeError."""
    if size is not None and size > _max_bytes.get():
        raise TooLargeError(f"{size:,} bytes, more than the limit of {_max_bytes.get():,}")


@contextmanager
def network_forbidden(*, forbidden: bool) -> Iterator[None]:
    """Refuse to open anything over the network: the dataset, its label files, the images that a manifest lists."""
    before = _offline.set(forbidden)
    try:
        yield
    finally:
        _offline.reset(before)


def require_reachable(location: str, *, error: type[AuditError] = SourceError, where: str | None = None) -> None:
    """Refuse a network location while the network is forbidden. Raises ``error`` about ``where``, or the location."""
    protocols = {part.split("://", 1)[0] for part in location.split("::") if "://" in part}
    if _offline.get() and protocols - _LOCAL_PROTOCOLS:
        raise error(where or location, "needs the network, which `offline` forbids", "remove `offline`, or copy the data to this machine")


class Storage:
    """The files at and below one location. Picklable: each process opens its own connections and handles.

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

        try:
            return cast("tuple[Any, str]", fsspec.core.url_to_fs(self.location, **self.options))
        except ImportError as error:
            hint = "install the packages that this URL scheme needs, then run the same command again"
            raise SourceError(self.location, f"cannot be opened ({reason(error)})", hint) from error

    @property
    def root(self) -> str:
        """The location as a path for the other methods."""
        return self.location if self.protocol is None else self._remote[1]

    def join(self, folder: str, name: str) -> str:
        """Return the path of a name in a folder."""
        return os.path.join(folder, name) if self.protocol is None else f"{folder.rstrip('/')}/{name}"  # noqa: PTH118 - names may hold any byte

    def parent(self, path: str) -> str:
        """Return the parent folder of a path."""
        return str(Path(path).absolute().parent) if self.protocol is None else path.rstrip("/").rpartition("/")[0]

    def what_is(self, path: str) -> Literal["file", "folder"] | None:
        """Return whether a path is a file or a folder; None if it does not exist."""
        if self.protocol is None:
            return "folder" if os.path.isdir(path) else "file" if os.path.exists(path) else None  # noqa: PTH110, PTH112 - names may hold any byte
        filesystem = self._remote[0]
        return "folder" if filesystem.isdir(path) else "file" if filesystem.exists(path) else None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; an empty list if it is not a folder."""
        if self.what_is(folder) != "folder":
            return []
        if self.protocol is None:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names may hold any byte
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in self._remote[0].ls(folder, detail=True))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading and seeking. Raises OSError, also for a device or a pipe, which may have no end."""
        if self.protocol is not None:
            return cast("BinaryIO", self._remote[0].open(path, "rb"))
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(f"{path} is a device, pipe or socket")
        return file

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises OSError; TooLargeError if it is larger than the limit of `at_most`."""
        if self.protocol is not None:
            require_size(self._remote[0].info(path).get("size"))
            data = cast("bytes", self._remote[0].cat_file(path, end=_max_bytes.get() + 1))
        else:
            with self.open(path) as file:
                require_size(os.fstat(file.fileno()).st_size)
                data = file.read(_max_bytes.get() + 1)
        require_size(len(data))
        return data

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Return a byte range of a file in one request. Raises OSError if the file is too short, TooLargeError if the range is too large."""
        require_size(size)
        if self.protocol is not None:
            data = cast("bytes", self._remote[0].cat_file(path, start=offset, end=offset + size)) if size else b""
        else:
            with self.open(path) as file:  # opening is cheap; open handles would run out on a thousand shards
                file.seek(offset)
                data = file.read(size)
        if len(data) != size:
            raise OSError(f"{path} ends after {offset + len(data)} bytes, inside a member that should reach byte {offset + size}")
        return data

    def fingerprint(self, path: str) -> str:
        """Return a file's fingerprint without reading it: size and modification time, or the store's tag."""
        try:
            if self.protocol is None:
                return _local_fingerprint(os.stat(path))  # noqa: PTH116
            return _remote_fingerprint(self._remote[0].info(path))
        except (OSError, ValueError):  # ValueError: a file name cannot contain a null byte
            return MISSING

    def fingerprints(self, folder: str) -> dict[str, str] | None:
        """Return the fingerprint of every file of a folder by path, in a few requests; None if the store cannot list folders."""
        if self.protocol in (None, "http", "https"):
            return None
        try:
            return {entry["name"]: _remote_fingerprint(entry) for entry in self._remote[0].ls(folder, detail=True)}
        except OSError:
            return {}

    def walk(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
        """Yield every file below the root as its relative path ('/' separated) and fingerprint.

        An empty local folder (hidden names aside) is yielded as a path that ends with '/'; object stores have no empty folders. Symbolic links are
        followed, but each linked folder only once and never back to a parent, so that loops end. Hidden names, devices and pipes are counted in
        ``ignored``; remote folders that cannot be listed are added to the problems.
        """
        return self._walk_local(ignored, problems) if self.protocol is None else self._walk_remote(ignored, problems)

    def _walk_local(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
        special, hidden = Tally(), HiddenImages()
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
                    _note_hidden(entry, path, hidden)
                    continue
                try:
                    state = entry.stat()
                except OSError:  # a broken link is a sample whose bytes are missing
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
                    special.add(sample_id(path))
            pending.extend(reversed(below))
        problems += [*_special_files(special), *hidden.problems()]

    def _walk_remote(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
        (filesystem, root), hidden = self._remote, HiddenImages()
        skip = len(root.rstrip("/")) + 1
        pending = [root]
        while pending:
            folder = pending.pop()
            try:
                entries = sorted(filesystem.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
            except OSError as error:
                problem = f"{folder} could not be listed ({sample_id(reason(error))})"
                problems.append(
                    Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="check permissions and the connection, then scan again")
                )
                continue
            for info in entries:
                path = info["name"].rstrip("/")[skip:]
                if not path or info["name"].rstrip("/") == folder.rstrip("/"):  # the folder itself, as object stores may list it
                    continue
                if is_hidden(path):
                    ignored[HIDDEN] += 1
                    hidden.note(path)
                elif info["type"] == "directory":
                    pending.append(info["name"])
                else:
                    yield path, _remote_fingerprint(info)
        problems += hidden.problems()


def _special_files(special: Tally) -> Iterator[Problem]:
    if special.count:
        verb = "device, pipe or socket was" if special.count == 1 else "devices, pipes or sockets were"
        hint = "replace them with regular files, or remove them"
        yield Problem(kind="special_file", problem=f"{special.count:,} {verb} not read: {special}", hint=hint, evidence={"entries": special.count})


def _note_hidden(entry: os.DirEntry[str], path: str, hidden: HiddenImages) -> None:
    """Note a hidden file, or those of a hidden folder; links are not followed, and of a large cache or repository only a part is searched."""
    if not entry.is_dir(follow_symlinks=False):
        hidden.note(path)
        return
    for root, folders, names in islice(os.walk(entry.path), _HIDDEN_FOLDERS):
        folders.sort()
        for name in sorted(names):
            hidden.note(f"{path}{root[len(entry.path) :]}/{name}")


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for a pipe's writer; no effect on regular files."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def require_file(storage: Storage, kind: str) -> None:
    """Refuse a location that is not a file, for a source kind that needs one. Raises SourceError."""
    found = storage.what_is(storage.root)
    if found == "folder":
        raise SourceError(storage.location, f"is a folder, but a {kind} source is a single file", "pass the file, or remove `kind`")
    if found is None:
        raise SourceError(storage.location, "no such file", "check the spelling")


def _local_fingerprint(state: os.stat_result) -> str:
    return f"{state.st_size}-{state.st_mtime_ns}"


def _remote_fingerprint(info: Mapping[str, Any]) -> str:
    tag = next((str(info[key]) for key in _ETAGS if info.get(key)), None)
    time = next((str(info[key]) for key in _TIMES if info.get(key)), "")
    return f"{info.get('size')}-{tag if tag is not None else time}"

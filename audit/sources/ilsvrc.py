"""ILSVRC2012 as distributed: the nested train tar, the flat val tar and the devkit, separate or together in a folder, read in place.

The folder kind reads extracted trees, including Kaggle's layout.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, cast

from audit.errors import SourceError
from audit.sources.annotations.label_files import KNOWN_LABEL_FILES
from audit.sources.annotations.tree import Entry, TreeSource
from audit.sources.base import Source, SourceOptions
from audit.sources.storage.archives import member_ref, read_ref
from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape
from audit.sources.storage.problems import Problem
from audit.sources.storage.tar_members import read_members

KIND = "ilsvrc"
RANK = 20
OPTIONS = frozenset({"labels_file"})

_SPLITS = {
    "ilsvrc2012_img_train.tar": "train",
    "ilsvrc2012_img_val.tar": "val",
    "ilsvrc2012_img_test.tar": "test",
    "ilsvrc2012_img_test_v10102019.tar": "test",
}
_DEVKIT = "ilsvrc2012_devkit_t12.tar.gz"


class IlsvrcTree:
    """The distributed archives of one folder, listed as ``train/n01440764/x.JPEG`` and ``val/x.JPEG``."""

    def __init__(self, folder: Storage, archives: list[str]) -> None:
        self.storage = folder
        self._archives = archives

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every image of the archives and the label files next to them."""
        yield from self._label_files()
        for name in self._archives:
            path = self.storage.join(self.storage.root, name)
            split, state = _SPLITS[name.lower()], self.storage.fingerprint(path)
            # After a corrupt header, images of that class must not be listed as members of the outer archive.
            accepts = _is_tar if split == "train" else lambda _: True
            with self.storage.open(path) as file:
                for member in read_members(file, path, state, ignored, problems, accepts):
                    if not _is_tar(member.path):
                        inner = member.path.removeprefix(f"{split}/")
                        yield Entry(f"{split}/{inner}", member_ref(name, member.offset, member.size), member.fingerprint)
                        continue
                    synset = member.path.rpartition("/")[2][: -len(".tar")]
                    window = cast("BinaryIO", _Window(file, member.offset, member.size))
                    back = file.tell()
                    for image in read_members(window, f"{path}/{member.path}", state, ignored, problems):
                        ref = member_ref(name, member.offset + image.offset, image.size)
                        yield Entry(f"{split}/{synset}/{image.path.rpartition('/')[2]}", ref, image.fingerprint)
                    file.seek(back)

    def read(self, source_ref: str) -> bytes:
        """Return a file's bytes. Raises OSError."""
        if source_ref.startswith("devkit:"):
            with tarfile.open(fileobj=io.BytesIO(self.storage.read(self._beside(_DEVKIT)))) as devkit:
                member = devkit.extractfile(source_ref.removeprefix("devkit:"))
                return member.read() if member else b""
        return read_ref(self.storage, source_ref)

    def head(self, source_ref: str) -> bytes:  # noqa: ARG002
        """Return nothing: the distributed archives name their images as such."""
        return b""

    def _beside(self, lower: str) -> str:
        name = next(name for name in self.storage.names(self.storage.root) if name.lower() == lower)
        return self.storage.join(self.storage.root, name)

    def _label_files(self) -> Iterator[Entry]:
        names = self.storage.names(self.storage.root)
        for folder in ("", "ILSVRC2012_devkit_t12/data/", "data/"):
            for name in self.storage.names(self.storage.join(self.storage.root, folder.rstrip("/"))) if folder else names:
                if name in KNOWN_LABEL_FILES:
                    yield Entry(f"{folder}{name}", escape(f"{folder}{name}"), "")
        if any(name.lower() == _DEVKIT for name in names):
            with tarfile.open(fileobj=io.BytesIO(self.storage.read(self._beside(_DEVKIT)))) as devkit:
                for member in devkit.getmembers():
                    if member.isreg() and member.name.rpartition("/")[2] in KNOWN_LABEL_FILES:
                        yield Entry(member.name, f"devkit:{member.name}", "")


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


class _Window(io.RawIOBase):
    """A file-like view of part of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is one of the distributed archives, or a folder that contains some."""
    return bool(_find(location, options)[1])


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open the archives. Raises SourceError."""
    folder, archives = _find(location, options)
    if not archives:
        raise SourceError(location, "contains no ILSVRC2012 archive", f"their names are {', '.join(_SPLITS)}")
    return TreeSource(KIND, location, IlsvrcTree(folder, archives), options)


def _find(location: str, options: SourceOptions) -> tuple[Storage, list[str]]:
    name = location.rstrip("/").rpartition("/")[2]
    storage = Storage(location, options.storage_options)
    if name.lower() in _SPLITS and storage.what_is(storage.root) == "file":
        return Storage(location[: -len(name)] or ".", options.storage_options), [name]
    return storage, [name for name in storage.names(storage.root) if name.lower() in _SPLITS]

"""A folder of tars or zips, each read as the folder of its name: a tar per class, ``train.zip`` and ``test.zip``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from audit.errors import SourceError
from audit.sources.annotations.layout import split_word
from audit.sources.annotations.tree import Entry, Tree, TreeSource
from audit.sources.base import Source, SourceOptions
from audit.sources.folder import FolderTree
from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape, is_hidden, is_image, unescape
from audit.sources.storage.problems import NOT_LISTED, Problem
from audit.sources.tar import ENDINGS, TarTree
from audit.sources.zip import ZipTree

KIND = "archives"
RANK = 60
OPTIONS = frozenset({"labels_file", "layout"})

_ENDINGS = (*ENDINGS, ".zip")
_MOST_FOLDERS = 64


class ArchivesTree:
    """The files in the archives of a folder, and the label files next to them."""

    def __init__(self, storage: Storage, options: SourceOptions, archives: list[str], files: list[str]) -> None:
        self.storage = storage
        self._files = files
        self._trees: dict[str, Tree] = {}
        for name in archives:
            inner = Storage(f"{storage.location.rstrip('/')}/{name}", options.storage_options)
            self._trees[name] = ZipTree(inner) if name.lower().endswith(".zip") else TarTree(inner)

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every member of every archive; an archive that cannot be read is a problem."""
        for name in self._files:
            yield Entry(name, escape(name), self.storage.fingerprint(self.storage.join(self.storage.root, name)))
        for name, tree in self._trees.items():
            ending = next(ending for ending in _ENDINGS if name.lower().endswith(ending))
            try:
                for entry in tree.entries(ignored, problems):
                    yield Entry(f"{name[: -len(ending)]}/{entry.path}", f"{escape(name)}#{entry.ref}", entry.fingerprint)
            except SourceError as error:
                evidence = {"archive": name}
                problems.append(Problem(kind=NOT_LISTED, severity="error", problem=f"{name} {error.problem}", hint=error.hint, evidence=evidence))

    def read(self, source_ref: str) -> bytes:
        """Return a member's bytes. Raises OSError."""
        archive, mark, inner = source_ref.rpartition("#")
        if not mark:
            return self.storage.read(self.storage.join(self.storage.root, unescape(source_ref)))
        return self._trees[unescape(archive)].read(inner)

    def head(self, source_ref: str) -> bytes:
        """Return the first bytes of a member. Raises OSError."""
        archive, mark, inner = source_ref.rpartition("#")
        return self._trees[unescape(archive)].head(inner) if mark else b""


def open_tree(location: str, options: SourceOptions) -> Tree:
    """Return the files of a folder, tar or zip. Raises SourceError if the location is none of them."""
    storage = Storage(location, options.storage_options)
    what = storage.what_is(storage.root)
    if what == "folder":
        return FolderTree(storage)
    if what is None:
        raise SourceError(location, "no such file or folder", "check the spelling")
    if not location.lower().endswith(_ENDINGS):
        raise SourceError(location, "is not a folder, tar or zip", "pass the one that has both images and annotations")
    return ZipTree(storage) if location.lower().endswith(".zip") else TarTree(storage)


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a folder, or a folder of folders, with tars or zips and without images."""
    storage = Storage(location, options.storage_options)
    return storage.what_is(storage.root) == "folder" and bool(_find(storage)[0])


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open the archives. Raises SourceError."""
    storage = Storage(location, options.storage_options)
    archives, files = _find(storage)
    if not archives:
        raise SourceError(location, "contains no archive", f"their names end with {', '.join(_ENDINGS)}")
    return TreeSource(KIND, location, ArchivesTree(storage, options, archives, files), options)


def _find(storage: Storage) -> tuple[list[str], list[str]]:
    """Return the archives and the other files of a folder and of its folders; nothing if there are images."""
    names = [name for name in storage.names(storage.root) if not is_hidden(name)]
    if any(is_image(name) for name in names):
        return [], []
    # Behind a URL, every folder costs requests.
    likely = [name for name in names if not name.lower().endswith(_ENDINGS) and (storage.protocol is None or split_word(name))]
    if len(likely) > _MOST_FOLDERS:
        return [], []
    folders = [name for name in likely if storage.what_is(storage.join(storage.root, name)) == "folder"]
    files = [name for name in names if name not in folders]
    for folder in folders:
        files += [f"{folder}/{name}" for name in storage.names(storage.join(storage.root, folder)) if not is_hidden(name)]
    if any(is_image(name) for name in files):
        return [], []
    archives = [name for name in files if name.lower().endswith(_ENDINGS)]
    kept = [name for name in files if name.lower().endswith((".csv", ".txt", ".mat", ".tsv", ".jsonl"))]
    return archives, kept

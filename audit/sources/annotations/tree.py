"""Datasets whose folders are splits and classes: shared by directories, tars and the ILSVRC archives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import NamedTuple, Protocol

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.given_labels import read_given
from audit.sources.annotations.label_files import KNOWN_LABEL_FILES, TINY, Found, Labels, read_known
from audit.sources.annotations.layout import Layout, class_folders, detect_layout, mistaken_splits, split_folders
from audit.sources.base import Sample, SourceOptions
from audit.sources.storage.files import MISSING, Storage
from audit.sources.storage.names import HIDDEN, escape, extension, is_hidden, is_image, sample_id
from audit.sources.storage.problems import EXAMPLES, Problem, named

_SPOOL_BYTES = 32 << 20
"""A larger listing is kept in an unnamed temporary file instead of memory: the layout is known only after the last folder."""


class Entry(NamedTuple):
    """One file of a tree."""

    path: str
    """Relative; the path of an empty folder ends with '/'."""
    ref: str
    fingerprint: str


class Tree(Protocol):
    """Files with relative paths."""

    storage: Storage

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every file; count skipped files, and add what cannot be listed to the problems."""
        ...

    def read(self, source_ref: str) -> bytes:
        """Return a file's bytes. Raises OSError."""
        ...


class TreeSource(StoredSource):
    """A tree of files, read by its layout and its label files."""

    def __init__(self, kind: str, location: str, tree: Tree, options: SourceOptions) -> None:
        super().__init__(kind, location, options, tree.storage)
        self._tree = tree

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if they cannot be read."""
        return self._tree.read(source_ref)

    def collect(self) -> Iterator[Sample]:
        """Yield every image of the tree. Raises SourceError if there is none or a label file is invalid."""
        self.ignored.clear()
        self.problems.clear()
        with SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8", newline="\n") as spool:
            folders, empty, known = self._files(spool)
            layout = detect_layout(folders)
            label_files = [self._given_labels()] if self.options.labels_file else read_known(known, self.location)
            if not label_files:
                self.problems += [*_splits_as_classes(folders, layout), *_empty_folders(empty, folders, layout)]
            spool.seek(0)
            for line in spool:
                yield self._sample(Entry(*json.loads(line)), layout, label_files)
        for label_file in label_files:
            if label_file.overrides:
                yield from self._missing(label_file)

    def _files(self, spool: SpooledTemporaryFile[str]) -> tuple[set[str], list[str], dict[str, bytes]]:
        """Write every image's entry to the spool, one per line; return the folders with images, the empty folders and the known label files."""
        folders: set[str] = set()
        empty: list[str] = []
        known: dict[str, bytes] = {}
        for entry in self._tree.entries(self.ignored, self.problems):
            if is_hidden(entry.path):
                self.ignored[HIDDEN] += 1
            elif entry.path.endswith("/"):
                empty.append(entry.path[:-1])
            elif is_image(entry.path):
                folders.add(entry.path.rpartition("/")[0])
                spool.write(json.dumps(entry) + "\n")
            elif entry.path.rpartition("/")[2] in KNOWN_LABEL_FILES:
                known[entry.path] = self._tree.read(entry.ref)
            else:
                self.ignored[extension(entry.path)] += 1
        if folders:
            return folders, empty, known
        for problem in self.problems:
            raise SourceError(self.location, f"no images could be listed: {problem.problem}", problem.hint)
        raise SourceError(self.location, f"contains no images{_most_ignored(self.ignored)}", "pass the folder or archive that contains them")

    def _sample(self, entry: Entry, layout: Layout, label_files: list[Labels]) -> Sample:
        path, split, label = layout.read(entry.path)
        labels, group = None, None
        if label == "images" and any(label_file.path.endswith(TINY) for label_file in label_files):
            label = None  # tiny-imagenet's val/images and test/images are not a class
        for label_file in label_files:
            if (label is None or label_file.overrides) and label_file.covers(entry.path):
                found = label_file.find(entry.path, path) or (Found(label) if label_file.corrects else Found(None))
                label, labels = (found.label, found.labels) if label_file.has_labels else (label, labels)
                split, group = found.split or split, found.group
        return self._listed(path, entry.ref, entry.fingerprint, Found(label, split, labels, group))

    def _missing(self, label_file: Labels) -> Iterator[Sample]:
        """Yield the images that a label file lists but that do not exist."""
        if not label_file.found:
            problem = f"{label_file.path}: none of the {len(label_file):,} listed images is in {self.location}"
            hint = "write names relative to the dataset's folder, or pass the right file"
            self.problems.append(Problem(kind="nothing_found", severity="error", problem=problem, hint=hint))
        for name, found in label_file.unused():
            if is_image(name):
                yield self._listed(name, escape(name), MISSING, found)

    def _listed(self, path: str, ref: str, fingerprint: str, found: Found) -> Sample:
        label = None if found.label is None else sample_id(found.label)
        split = self.options.split or (None if found.split is None else sample_id(found.split))
        metadata = {} if found.group is None else {str(self.options.group_column): found.group}
        return Sample(sample_id(path), ref, fingerprint, split, label, found.labels, metadata)

    def _given_labels(self) -> Labels:
        name = str(self.options.labels_file)
        storage = Storage(name, self.options.storage_options)
        try:
            data = storage.read(storage.root)
        except OSError as error:
            raise SourceError(name, "the label file cannot be read", "check the spelling of `labels_file`") from error
        return read_given(name, data, self.options)


def _splits_as_classes(folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield a problem if folders with split names are read as classes, unless that may be intended."""
    splits, others = ([sample_id(name) for name in names] for names in mistaken_splits(folders, layout))
    if splits:
        shown = [named(map(repr, names), len(names)) for names in (splits, others)]
        problem = f"some top folders have split names ({shown[0]}) but others do not ({shown[1]}): all {len(splits + others):,} are read as classes"
        hint = "if they are splits, move the other folders away or give them split names, such as test"
        yield Problem(kind="splits_as_classes", problem=problem, hint=hint, evidence={"splits": splits, "others": others[:EXAMPLES]})


def _empty_folders(empty: list[str], folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield a problem for empty class or split folders: no other check can see that such a class or split is missing."""
    for kind, what, find in (("empty_classes", "class", class_folders), ("empty_splits", "split", split_folders)):
        if found := [sample_id(folder) for folder in find(empty, folders, layout)]:
            problem = f"{counted(len(found), f'empty {what} folder')}: {named(map(repr, found), len(found))}"
            hint = "download the images again, or remove the folder"
            evidence = {"entries": len(found), "names": found[:EXAMPLES]}
            yield Problem(kind=kind, severity="info", problem=problem, hint=hint, evidence=evidence)


def _most_ignored(ignored: Counter[str]) -> str:
    most = ", ".join(f"{count} {name}" for name, count in ignored.most_common(3))
    return f", only other files ({most})" if most else ""

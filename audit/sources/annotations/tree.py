"""Datasets whose folders say what an image is: the same reading for a directory, a tar and ILSVRC's set of archives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import NamedTuple, Protocol

from audit.errors import SourceError
from audit.sources.annotations.class_words import find_class_words
from audit.sources.annotations.given_labels import read_given
from audit.sources.annotations.label_files import KNOWN_LABEL_FILES, TINY, Found, Labels, read_known
from audit.sources.annotations.layout import Layout, class_folders, detect_layout, mistaken_splits, split_folders
from audit.sources.base import Sample, SourceOptions
from audit.sources.storage.files import MISSING, Storage
from audit.sources.storage.names import HIDDEN, escape, extension, is_hidden, is_image, sample_id
from audit.sources.storage.problems import EXAMPLES, Problem, named

_SPOOL_BYTES = 32 << 20
"""A listing is kept in memory up to this size and in an unnamed temporary file beyond: the layout is known only after the last folder."""


class Entry(NamedTuple):
    """One file of a tree."""

    path: str
    """Relative; that of an empty folder ends with a '/'."""
    ref: str
    fingerprint: str


class Tree(Protocol):
    """Files with relative paths, wherever they are kept."""

    storage: Storage

    def entries(self, ignored: Counter[str], problems: list[Problem]) -> Iterator[Entry]:
        """Yield every file; count what is passed over, and add what cannot be listed to the problems."""
        ...

    def read(self, source_ref: str) -> bytes:
        """Return a file's bytes. Raises OSError."""
        ...


class TreeSource:
    """A tree of files, read by its layout and the label files found in it."""

    def __init__(self, kind: str, location: str, tree: Tree, options: SourceOptions) -> None:
        self.kind = kind
        self.location = location
        self.options = options
        self.ignored: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._tree = tree

    def class_words(self, labels: Iterable[str]) -> dict[str, str]:
        """Return words for those labels that have some. Raises SourceError."""
        return find_class_words(self._tree.storage, self.options, labels)

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError where they cannot be had."""
        return self._tree.read(source_ref)

    def collect(self) -> Iterator[Sample]:
        """Yield every image of the tree. Raises SourceError where there is none or a label file does not fit."""
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
            if label_file.overrules:
                yield from self._missing(label_file)

    def _files(self, spool: SpooledTemporaryFile[str]) -> tuple[set[str], list[str], dict[str, bytes]]:
        """Write every image's entry, a line each.

        Return the folders that hold some, those that hold nothing, and the label files that makers of datasets put beside them.
        """
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
            raise SourceError(self.location, f"holds no image that could be listed: {problem.problem}", problem.hint)
        raise SourceError(self.location, f"holds no images{_seen(self.ignored)}", "name the folder or archive that holds them")

    def _sample(self, entry: Entry, layout: Layout, label_files: list[Labels]) -> Sample:
        path, split, label = layout.place(entry.path)
        labels = None
        if label == "images" and any(label_file.place.endswith(TINY) for label_file in label_files):
            label = None  # tiny-imagenet's val/images and test/images are no class
        for label_file in label_files:
            if (label is None or label_file.overrules) and label_file.covers(entry.path):
                found = label_file.find(entry.path, path) or (Found(label) if label_file.corrects else Found(None))
                label, labels, split = found.label, found.labels, found.split or split
        return self._placed(path, entry.ref, entry.fingerprint, split, label, labels)

    def _missing(self, label_file: Labels) -> Iterator[Sample]:
        """Yield the images that a label file names and that are not there."""
        if not label_file.found:
            problem = f"none of the {len(label_file):,} images that {label_file.place} names is in {self.location}"
            hint = "write names relative to the dataset's folder, or name the right file"
            self.problems.append(Problem(kind="nothing_found", severity="error", problem=problem, hint=hint))
        for name, found in label_file.unused():
            if is_image(name):
                yield self._placed(name, escape(name), MISSING, found.split, found.label, found.labels)

    def _placed(self, path: str, ref: str, fingerprint: str, split: str | None, label: str | None, labels: tuple[str, ...] | None) -> Sample:
        label = None if label is None else sample_id(label)
        split = self.options.split or (None if split is None else sample_id(split))
        return Sample(sample_id(path), ref, fingerprint, split, label, labels)

    def _given_labels(self) -> Labels:
        name = str(self.options.labels_file)
        storage = Storage(name, self.options.storage_options)
        try:
            data = storage.read(storage.root)
        except OSError as error:
            raise SourceError(name, "the label file cannot be read", "check the spelling of `labels_file`") from error
        return read_given(name, data, self.options)


def _splits_as_classes(folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield that folders with names of splits are read as classes, where that is hardly meant."""
    splits, others = ([sample_id(name) for name in names] for names in mistaken_splits(folders, layout))
    if splits:
        shown = [named(map(repr, names), len(names)) for names in (splits, others)]
        problem = f"of the top folders, {shown[0]} are called like splits but {shown[1]} not, so all {len(splits + others):,} are taken as classes"
        hint = "if they are splits, move the others away or give them names of splits, such as test"
        yield Problem(kind="splits_as_classes", problem=problem, hint=hint, evidence={"splits": splits, "others": others[:EXAMPLES]})


def _empty_folders(empty: list[str], folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield that folders of classes or splits hold nothing: such a class or split is in no list, and no other check can miss it."""
    for kind, what, find in (("empty_classes", "class", class_folders), ("empty_splits", "split", split_folders)):
        if found := [sample_id(folder) for folder in find(empty, folders, layout)]:
            which = f"1 folder of a {what} is" if len(found) == 1 else f"{len(found):,} folders of {what}{'es' if what == 'class' else 's'} are"
            problem = f"{which} empty ({named(map(repr, found), len(found))}), so the run knows nothing of a {what} there"
            hint = "fetch the images again, or remove the folder"
            evidence = {"entries": len(found), "names": found[:EXAMPLES]}
            yield Problem(kind=kind, severity="info", problem=problem, hint=hint, evidence=evidence)


def _seen(ignored: Counter[str]) -> str:
    most = ", ".join(f"{count} {name}" for name, count in ignored.most_common(3))
    return f" among what it holds ({most})" if most else ""

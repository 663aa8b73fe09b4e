"""Datasets whose folders are splits and classes: shared by directories, tars and the ILSVRC archives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import NamedTuple, Protocol

from audit.errors import SourceError
from audit.images.signatures import image_format
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.given_labels import read_given
from audit.sources.annotations.label_files import KNOWN_LABEL_FILES, TINY, Found, Labels, read_known
from audit.sources.annotations.layout import CLASS, Layout, class_folders, detect_layout, given_layout, mistaken_splits, split_folders
from audit.sources.annotations.side_files import SideFiles, repeated_names
from audit.sources.base import Sample, SourceOptions
from audit.sources.storage.files import MISSING, Storage
from audit.sources.storage.names import HIDDEN, escape, extension, is_hidden, is_image, is_renamed_image, sample_id
from audit.sources.storage.problems import EXAMPLES, HiddenImages, Problem, Tally, named

_SPOOL_BYTES = 32 << 20
"""A larger listing is kept in an unnamed temporary file instead of memory: the layout is known only after the last folder."""


_NO_IMAGES = frozenset(
    (  # noqa: SIM905  as a list, one line each
        "txt csv tsv json jsonl xml yaml yml toml md html htm py ipynb sh log ini cfg pdf doc docx xls xlsx pkl pickle pt pth ckpt onnx npy npz mat "
        "h5 hdf5 zip gz bz2 xz 7z rar tar tgz parquet arrow tfrecord mp4 avi mov mkv url license readme db sqlite lock sum md5 sha256 svg"
    ).split()
)
"""Extensions of files that are never opened to see whether they are images."""


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

    def head(self, source_ref: str) -> bytes:
        """Return the first bytes of a file, at most `HEAD_BYTES`; none if reading them would cost a request per file. Raises OSError."""
        ...


@dataclass(slots=True)
class Files:
    """What a tree contains in addition to its images."""

    side: SideFiles
    folders: set[str] = field(default_factory=set)
    """Folders that directly contain images."""
    empty: list[str] = field(default_factory=list)
    """Empty folders."""
    known: dict[str, bytes] = field(default_factory=dict)
    """Label files of known datasets, by path."""
    kept: dict[str, str] = field(default_factory=dict)
    """References of annotations that the source reads itself, by path."""


class TreeSource(StoredSource):
    """A tree of files, read by its layout and its label files."""

    def __init__(self, kind: str, location: str, tree: Tree, options: SourceOptions, kept: tuple[str, ...] = ()) -> None:
        super().__init__(kind, location, options, tree.storage)
        self._tree = tree
        self._kept = kept

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if they cannot be read."""
        return self._tree.read(source_ref)

    def collect(self) -> Iterator[Sample]:
        """Yield every image of the tree. Raises SourceError if there is none or a label file is invalid."""
        self.ignored.clear()
        self.problems.clear()
        with SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8", newline="\n") as spool:
            files = self._files(spool)
            layout = self._layout(files)
            label_files = self._label_files(files, layout)

            def entries() -> Iterator[Entry]:
                spool.seek(0)
                return (Entry(*json.loads(line)) for line in spool)

            if any(label_file.needs_unique_names for label_file in label_files):
                repeated = repeated_names(entry.path for entry in entries())
                for label_file in label_files:
                    label_file.repeated = repeated
            if not label_files:
                self.problems += [*_assumed(layout), *_splits_as_classes(files.folders, layout), *_empty_folders(files.empty, files.folders, layout)]
                if CLASS not in layout.roles:
                    self.problems += files.side.offered(self.location, self.options, lambda: (entry.path for entry in entries()))
            self.problems += files.side.unread()
            for entry in entries():
                yield from self._samples(entry, layout, label_files)
        for label_file in label_files:
            if label_file.overrides:
                yield from self._missing(label_file, alone=len(label_files) == 1)

    def _layout(self, files: Files) -> Layout:
        return detect_layout(files.folders) if self.options.layout is None else given_layout(self.options.layout, files.folders)

    def _label_files(self, files: Files, layout: Layout) -> list[Labels]:
        """Return the label files to use: the user's, those of known datasets, or standard tables if the folders are no classes."""
        if self.options.labels_file:
            return [self._given_labels(files.folders)]
        known = read_known(files.known, self.location)
        if known or CLASS in layout.roles:
            return known
        found = list(files.side.standard(self.location, self.options))
        tables = [labels for labels in found if isinstance(labels, Labels)]
        self.problems += [problem for problem in found if isinstance(problem, Problem)]
        if tables:
            shown = named((labels.path for labels in tables), len(tables))
            problem = f"labels are read from {counted(len(tables), 'table')} next to the images: {shown}"
            hint = "for other labels, pass --labels FILE (labels_file)"
            evidence = {"entries": len(tables), "names": [labels.path for labels in tables[:EXAMPLES]]}
            self.problems += [Problem(kind="labels_from_tables", severity="info", problem=problem, hint=hint, evidence=evidence), *_assumed(layout)]
        return tables

    def _files(self, spool: SpooledTemporaryFile[str]) -> Files:
        """Write every image's entry to the spool, one per line; return what else the tree has."""
        files = Files(SideFiles(self._tree.read))
        renamed, recognised, missing, hidden = Tally(), Tally(), Tally(), HiddenImages()
        for entry in self._tree.entries(self.ignored, self.problems):
            if is_hidden(entry.path):
                self.ignored[HIDDEN] += 1
                hidden.note(entry.path)
            elif entry.path.endswith("/"):
                files.empty.append(entry.path[:-1])
            elif is_image(entry.path) or self._is_image_by_another_name(entry, renamed, recognised):
                if entry.fingerprint == MISSING:
                    missing.add(entry.path)
                files.folders.add(entry.path.rpartition("/")[0])
                spool.write(json.dumps(entry) + "\n")
            elif entry.path.rpartition("/")[2] in KNOWN_LABEL_FILES:
                files.known[entry.path] = self._tree.read(entry.ref)
            elif self._kept and entry.path.lower().endswith(self._kept):
                files.kept[entry.path] = entry.ref
            else:
                files.side.add(entry.path, entry.ref)
                self.ignored[extension(entry.path)] += 1
        if not files.folders:
            for problem in self.problems:
                raise SourceError(self.location, f"no images could be listed: {problem.problem}", problem.hint)
            raise SourceError(self.location, f"contains no images{_most_ignored(self.ignored)}", _way_forward(self.ignored))
        self.problems += [*hidden.problems(), *_other_names(renamed, recognised), *_annexed(self.storage, missing)]
        return files

    def _is_image_by_another_name(self, entry: Entry, renamed: Tally, recognised: Tally) -> bool:
        """Return whether a file without the extension of an image is one; only files whose extension says nothing are opened."""
        if is_renamed_image(entry.path):
            renamed.add(repr(sample_id(entry.path)))
            return True
        if extension(entry.path)[1:] in _NO_IMAGES or entry.fingerprint == MISSING:
            return False
        try:
            found = image_format(self._tree.head(entry.ref))
        except OSError:
            return False
        if found is not None:
            recognised.add(repr(sample_id(entry.path)))
        return found is not None

    def _samples(self, entry: Entry, layout: Layout, label_files: list[Labels]) -> Iterator[Sample]:
        yield self._sample(entry, layout, label_files)

    def _sample(self, entry: Entry, layout: Layout, label_files: list[Labels]) -> Sample:
        path, split, label, columns = layout.read(entry.path)
        labels, group = None, None
        if label == "images" and any(label_file.path.endswith(TINY) for label_file in label_files):
            label = None  # tiny-imagenet's val/images and test/images are not a class
        for label_file in label_files:
            if (label is None or label_file.overrides) and label_file.covers(entry.path):
                found = label_file.find(entry.path, path)
                if found is None and label_file.overrides and len(label_files) > 1:
                    continue  # the tables of other folders
                if found is None and label_file.overrides and label_file.has_labels and not label_file.corrects:
                    label_file.unlisted.add(repr(sample_id(entry.path)))
                found = found or (Found(label) if label_file.corrects else Found(None))
                label, labels = (found.label, found.labels) if label_file.has_labels else (label, labels)
                split, group = found.split or split, found.group or group
                if label is not None or labels is not None:
                    break
        return self._listed(path, entry.ref, entry.fingerprint, Found(label, split, labels, group=group), columns)

    def _missing(self, label_file: Labels, *, alone: bool) -> Iterator[Sample]:
        """Yield the images that a label file lists but that do not exist; none if it is one of several and belongs to other images altogether."""
        self.problems += label_file.problems
        if not label_file.found:
            problem = f"{label_file.path}: none of the {len(label_file):,} listed images is in {self.location}"
            hint = "write names relative to the dataset's folder, or pass the right file"
            self.problems.append(Problem(kind="nothing_found", severity="error", problem=problem, hint=hint))
            if not alone:
                return
        if count := label_file.ambiguous.count:
            problem = f"{label_file.path}: {counted(count, 'image')} without a label, because several images have their names: {label_file.ambiguous}"
            hint = "write paths relative to the dataset's folder"
            self.problems.append(Problem(kind="ambiguous_names", problem=problem, hint=hint, evidence={"entries": count}))
        if label_file.found and (count := label_file.unlisted.count):
            problem = f"{label_file.path} does not list {counted(count, 'image')}, which have no label: {label_file.unlisted}"
            hint = "add them, or ignore this if they are unlabelled"
            self.problems.append(Problem(kind="unlisted_images", severity="info", problem=problem, hint=hint, evidence={"entries": count}))
        unmatched = Tally()
        for name, found in label_file.unused():
            if is_image(name):
                yield self._listed(name, escape(name), MISSING, found, {})
            else:
                unmatched.add(repr(name))
        if unmatched.count:
            problem = f"{label_file.path}: {counted(unmatched.count, 'name')} of no image: {unmatched}"
            hint = "correct them, or delete their rows"
            self.problems.append(Problem(kind="unmatched_names", problem=problem, hint=hint, evidence={"entries": unmatched.count}))

    def _listed(self, path: str, ref: str, fingerprint: str, found: Found, columns: Mapping[str, str]) -> Sample:
        label = None if found.label is None else sample_id(found.label)
        split = self.options.split or (None if found.split is None else sample_id(found.split))
        metadata = {name: sample_id(value) for name, value in columns.items()}
        metadata |= {} if found.group is None else {str(self.options.group_column): found.group}
        return Sample(sample_id(path), ref, fingerprint, split, label, found.labels, metadata)

    def _given_labels(self, folders: Collection[str]) -> Labels:
        name = str(self.options.labels_file)
        storage = Storage(name, self.options.storage_options)
        try:
            data = storage.read(storage.root)
        except OSError as error:
            raise SourceError(name, "the label file cannot be read", "check the spelling of `labels_file`") from error
        return read_given(name, data, self.options, _folder_inside(self.storage, storage, folders))


def _folder_inside(dataset: Storage, table: Storage, folders: Collection[str]) -> str | None:
    """Return a table's folder relative to the dataset; None if it is elsewhere or has no images below it."""
    root, parent = dataset.join(dataset.root, "").rstrip("/"), table.parent(table.root).rstrip("/")
    if dataset.protocol is None and table.protocol is None:
        root = str(Path(root).absolute())
    if dataset.protocol != table.protocol or not (parent + "/").startswith(root + "/"):
        return None
    inside = parent[len(root) + 1 :]
    return inside if not inside or any((folder + "/").startswith(inside + "/") for folder in folders) else None


def _assumed(layout: Layout) -> Iterator[Problem]:
    """Yield a problem for each choice between two readings of the folders."""
    for reading in layout.readings:
        problem = f"the folders are read as {layout}: {reading.why}"
        hint = f"for the other reading, pass --layout {reading.other} (layout)"
        evidence = {"layout": str(layout), "other": reading.other}
        yield Problem(kind="assumed_layout", severity=reading.severity, problem=problem, hint=hint, evidence=evidence)


def _other_names(renamed: Tally, recognised: Tally) -> Iterator[Problem]:
    """Yield a problem for images without the extension of an image, which many loaders skip."""
    if count := renamed.count + recognised.count:
        shown = named([*renamed.examples, *recognised.examples], count)
        problem = f"{counted(count, 'image')} without the extension of an image, which many loaders skip: {shown}"
        hint = "rename them, so that every loader reads them"
        yield Problem(kind="other_names", problem=problem, hint=hint, evidence={"entries": count})


def _annexed(storage: Storage, missing: Tally) -> Iterator[Problem]:
    """Yield a problem if links to nothing are those of git-annex."""
    if missing.count and storage.protocol is None:
        link = Path(storage.join(storage.root, missing.examples[0]))
        if link.is_symlink() and "annex/objects" in str(link.readlink()):
            problem = f"{counted(missing.count, 'link')} to files of git-annex that are not on this machine: {missing}"
            yield Problem(kind="not_fetched", severity="error", problem=problem, hint="run git annex get", evidence={"entries": missing.count})


def _splits_as_classes(folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield a problem if folders with split names are read as classes, unless that may be intended."""
    splits, others = ([sample_id(name) for name in names] for names in mistaken_splits(folders, layout))
    if splits:
        shown = [named(map(repr, names), len(names)) for names in (splits, others)]
        problem = f"some top folders have split names ({shown[0]}) but others do not ({shown[1]}): all {len(splits + others):,} are read as classes"
        hint = "if they are splits, pass --layout split/class (layout), or move the other folders away"
        yield Problem(kind="splits_as_classes", problem=problem, hint=hint, evidence={"splits": splits, "others": others[:EXAMPLES]})


def _empty_folders(empty: list[str], folders: set[str], layout: Layout) -> Iterator[Problem]:
    """Yield a problem for empty class or split folders: no other check can see that such a class or split is missing."""
    for kind, what, find in (("empty_classes", "class", class_folders), ("empty_splits", "split", split_folders)):
        if found := [sample_id(folder) for folder in find(empty, folders, layout)]:
            problem = f"{counted(len(found), f'empty {what} folder')}: {named(map(repr, found), len(found))}"
            hint = "download the images again, or remove the folder"
            evidence = {"entries": len(found), "names": found[:EXAMPLES]}
            yield Problem(kind=kind, severity="info", problem=problem, hint=hint, evidence=evidence)


_WAYS = {
    **dict.fromkeys((".h5", ".hdf5", ".mat"), "pass the file itself, with arrays such as images and labels"),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".npy"), "save the images as .npz: numpy.savez('images.npz', images=IMAGES, labels=LABELS)"),
    ".mdb": 'write its values as files, such as with: pip install lmdb && python -c "import lmdb, pathlib; '
    "[pathlib.Path('FOLDER', key.hex()).write_bytes(value) for key, value in lmdb.open('DATABASE', readonly=True, lock=False).begin().cursor()]\"",
    **dict.fromkeys((".rar", ".7z", ".bz2", ".xz", ".gz"), "extract it and scan the folder"),
    **dict.fromkeys((".zip", ".tar", ".tgz"), "scan each archive, or extract them"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), "extract frames, such as with: ffmpeg -i VIDEO FOLDER/%05d.jpg"),
    **dict.fromkeys((".csv", ".tsv", ".jsonl"), "scan the table itself if it lists the images: imagenet-audit scan TABLE"),
    ".bin": "save the images as .npz: numpy.savez('images.npz', images=IMAGES, labels=LABELS)",
}
"""What to do with files that are not read, by extension."""


def _way_forward(ignored: Counter[str]) -> str:
    return next((_WAYS[name] for name, _ in ignored.most_common() if name in _WAYS), "pass the folder or archive that contains them")


def _most_ignored(ignored: Counter[str]) -> str:
    most = ", ".join(f"{count} {name}" for name, count in ignored.most_common(3))
    return f", only other files ({most})" if most else ""

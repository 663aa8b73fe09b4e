"""The label files of tiny-imagenet and ILSVRC; `audit.sources.annotations.given_labels` reads those of the user."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from audit.errors import SourceError
from audit.io.spreadsheet import text_of
from audit.sources.storage.names import sample_id
from audit.sources.storage.problems import Problem, Tally

TINY = "val_annotations.txt"
SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
KNOWN_LABEL_FILES = frozenset({TINY, SOLUTION, GROUND_TRUTH, META})


class Box(NamedTuple):
    """One annotated object."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    relative: bool
    """Whether the edges are fractions of the image's size instead of pixels."""
    size: tuple[float, float] | None = None
    """Width and height of the image in pixels, if the annotations say."""


class Found(NamedTuple):
    """A label file's entry for one image."""

    label: str | None
    split: str | None = None
    labels: tuple[str, ...] | None = None
    """Labels of a multi-label image; ``label`` is then None."""
    boxes: tuple[Box, ...] = ()
    """The annotated objects of the image."""
    group: str | None = None
    """The cell of the group column, if there is one."""


class Labels:
    """The labels of one file, by image name.

    Args:
        path: the file, for messages.
        labels: entries by name: a path, a base name, or a base name without extension.
        folder: the folder that directly contains the images, and that is then not a class; None for images anywhere.
        base: the folder of the file in the dataset, from which its names may start; None if it is elsewhere.
        overrides: whether the file overrides class folders.
        corrects: whether images that it does not list still keep the label of their folder.
        has_labels: False for a file of groups only: all images keep the label of their folder.
        problems: what was noticed while it was read.
    """

    def __init__(
        self,
        path: str,
        labels: Mapping[str, Found],
        folder: str | None = None,
        *,
        base: str | None = None,
        overrides: bool = False,
        corrects: bool = False,
        has_labels: bool = True,
        problems: Sequence[Problem] = (),
    ) -> None:
        self.path = path
        self.base = base
        self.has_labels = has_labels
        self.overrides = overrides
        self.corrects = corrects
        self.problems = list(problems)
        self.ambiguous = Tally()
        self.unlisted = Tally()
        self.repeated: Container[str] = ()
        """Base names, with and without extension, that several images have: they match no image."""
        self._labels = labels
        self._folder = folder
        self._used: set[str] = set()
        self._slashed = {name.replace("\\", "/"): name for name in labels if "\\" in name}

    def covers(self, path: str) -> bool:
        """Return whether the file applies to the images in a path's folder."""
        return self._folder is None or path.rpartition("/")[0] == self._folder

    def find(self, path: str, placed: str) -> Found | None:
        """Return the entry of an image, given its path in the tree and its path without wrapper folders."""
        base = path.rpartition("/")[2]
        inside = self.base is None or path.startswith(f"{self.base}/" if self.base else "")
        relative = path[len(self.base) + 1 :] if self.base and inside else path
        whole = list(dict.fromkeys(name for full in (relative, placed, path) for name in (full, full.rpartition(".")[0])))
        for spelling in map(sample_id, [*whole, *((base, base.rpartition(".")[0]) if inside else ())]):
            name = spelling if spelling in self._labels else self._slashed.get(spelling)
            by_base_name = self._folder is None and spelling not in map(sample_id, whole)
            if name is not None and by_base_name and spelling in self.repeated:
                self.ambiguous.add(repr(name))
                self._used.add(name)
                return None
            if name is not None:
                self._used.add(name)
                return self._labels[name]
        return None

    def __len__(self) -> int:
        """Return the number of names in the file."""
        return len(self._labels)

    @property
    def found(self) -> int:
        """Number of names that matched an image so far."""
        return len(self._used)

    @property
    def needs_unique_names(self) -> bool:
        """Whether some names have no folder, so that they match images by their base names."""
        return any("/" not in name for name in self._labels)

    def unused(self) -> Iterator[tuple[str, Found]]:
        """Yield the paths that have matched no image so far."""
        head = f"{self.base}/" if self.base else ""
        return ((head + name, found) for name, found in self._labels.items() if name not in self._used)


def read_known(files: Mapping[str, bytes], dataset: str) -> list[Labels]:
    """Read the label files that a dataset ships with its images.

    Args:
        files: bytes by relative path; base names of `KNOWN_LABEL_FILES`.
        dataset: the dataset, for messages.

    Raises:
        SourceError: a file is malformed, or ILSVRC's ground truth lacks ``meta.mat``, which maps its numbers to synsets.
    """
    known = []
    for path, data in sorted(files.items()):
        folder, _, name = path.rpartition("/")
        where = f"{dataset}/{path}"
        text = "" if name == META else text_of(data, where, SourceError)
        if name == TINY:
            labels = {line[0]: Found(line[1]) for line in _rows(where, text, "\t")}
            images = f"{folder}/images" if folder else "images"
            known.append(Labels(where, labels, images))
        elif name == SOLUTION:
            rows = list(_rows(where, text, ","))[1:]
            known.append(Labels(where, {row[0]: Found(row[1].split()[0]) for row in rows if row[1].split()}))
        elif name == GROUND_TRUTH:
            meta = next((files[path] for path in sorted(files) if path.rpartition("/")[2] == META), None)
            known.append(Labels(where, _ground_truth(where, text, meta)))
    return known


def _ground_truth(path: str, text: str, meta: bytes | None) -> dict[str, Found]:
    if meta is None:
        raise SourceError(path, "contains class numbers, but meta.mat, which maps them to synsets, is missing", "add the devkit's data/meta.mat")
    from scipy.io import loadmat

    synsets = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in loadmat(io.BytesIO(meta))["synsets"].ravel()}
    labels = {}
    for number, line in enumerate(text.split(), 1):
        if not line.isdigit() or int(line) not in synsets:
            raise SourceError(f"{path}:{number}", f"{line!r} is not a class number", f"numbers are {min(synsets)} to {max(synsets)}")
        labels[f"ILSVRC2012_val_{number:08d}"] = Found(synsets[int(line)])
    return labels


def _rows(path: str, text: str, delimiter: str) -> Iterator[list[str]]:
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
        if any(row) and len(row) < 2:
            raise SourceError(f"{path}:{number}", f"has no label: {row[0][:80]!r}", "write the image's name and its label on every line")
        if any(row):
            yield row

"""Files that say which label an image has: tiny-imagenet's and ILSVRC's; `audit.sources.annotations.given_labels` reads others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from audit.errors import SourceError
from audit.io.spreadsheet import text_of
from audit.sources.storage.names import sample_id

TINY = "val_annotations.txt"
SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
KNOWN_LABEL_FILES = frozenset({TINY, SOLUTION, GROUND_TRUTH, META})


class Found(NamedTuple):
    """What a label file says of one image."""

    label: str | None
    split: str | None = None
    labels: tuple[str, ...] | None = None
    """Several labels; ``label`` is then None."""


class Labels:
    """The labels of one file, by image name.

    Args:
        place: the file, for messages.
        labels: what is said of each name: a path, a base name or a base name without extension.
        folder: the images spoken of lie directly in this folder, and their own folder is then no class; None for images anywhere.
        overrules: whether the file wins over a class folder.
        corrects: whether images that it does not name keep the label of their folder nevertheless.
    """

    def __init__(
        self, place: str, labels: Mapping[str, Found], folder: str | None = None, *, overrules: bool = False, corrects: bool = False
    ) -> None:
        self.place = place
        self.overrules = overrules
        self.corrects = corrects
        self._labels = labels
        self._folder = folder
        self._used: set[str] = set()
        self._slashed = {name.replace("\\", "/"): name for name in labels if "\\" in name}

    def covers(self, path: str) -> bool:
        """Return whether the file speaks of the images in a path's folder."""
        return self._folder is None or path.rpartition("/")[0] == self._folder

    def find(self, path: str, placed: str) -> Found | None:
        """Return what the file says of an image, given its path in the tree and its path without packaging."""
        base = path.rpartition("/")[2]
        for spelling in map(sample_id, (placed, path, base, base.rpartition(".")[0])):
            name = spelling if spelling in self._labels else self._slashed.get(spelling)
            if name is not None:
                self._used.add(name)
                return self._labels[name]
        return None

    @property
    def found(self) -> int:
        """How many of its names some image has asked for so far."""
        return len(self._used)

    def __len__(self) -> int:
        """Return how many names the file has."""
        return len(self._labels)

    def unused(self) -> Iterator[tuple[str, Found]]:
        """Yield the names that no image asked for so far."""
        return ((name, found) for name, found in self._labels.items() if name not in self._used)


def read_known(files: Mapping[str, bytes], place: str) -> list[Labels]:
    """Read the label files a dataset's makers put beside the images.

    Args:
        files: bytes by relative path; base names of `KNOWN_LABEL_FILES`.
        place: the dataset, for messages.

    Raises:
        SourceError: a file is malformed, or ILSVRC's ground truth lacks the ``meta.mat`` that tells which number is which synset.
    """
    known = []
    for path, data in sorted(files.items()):
        folder, _, name = path.rpartition("/")
        where = f"{place}/{path}"
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


def _ground_truth(place: str, text: str, meta: bytes | None) -> dict[str, Found]:
    if meta is None:
        raise SourceError(
            place, "gives class numbers, and there is no meta.mat that says which synset each is", "put the devkit's data/meta.mat beside it"
        )
    from scipy.io import loadmat

    synsets = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in loadmat(io.BytesIO(meta))["synsets"].ravel()}
    labels = {}
    for number, line in enumerate(text.split(), 1):
        if not line.isdigit() or int(line) not in synsets:
            raise SourceError(f"{place}:{number}", f"{line!r} is no class number", f"numbers are {min(synsets)} to {max(synsets)}")
        labels[f"ILSVRC2012_val_{number:08d}"] = Found(synsets[int(line)])
    return labels


def _rows(place: str, text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not empty."""
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
        if any(row) and len(row) < 2:
            raise SourceError(f"{place}:{number}", f"has no label: {row[0][:80]!r}", "write the image's name and its label on every line")
        if any(row):
            yield row

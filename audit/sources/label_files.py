"""Files that say which label an image has: tiny-imagenet's, ILSVRC's, and any list of names and labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from audit.errors import SourceError, nearest
from audit.sources.layout import is_split
from audit.sources.names import is_image, safe_relative

TINY = "val_annotations.txt"
SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
KNOWN_LABEL_FILES = frozenset({TINY, SOLUTION, GROUND_TRUTH, META})

_NAME_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_id", "imageid", "id", "name")
_LABEL_COLUMNS = ("label", "class", "target", "category", "class_name", "predictionstring")


class Found(NamedTuple):
    """What a label file says of one image."""

    label: str | None
    split: str | None = None


class Labels:
    """The labels of one file, by image name.

    Args:
        place: the file, for messages.
        labels: what is said of each name: a path, a base name or a base name without extension.
        folder: the images spoken of lie directly in this folder, and their own folder is then no class; None for images anywhere.
        overrules: whether the file wins over a class folder.
    """

    def __init__(self, place: str, labels: Mapping[str, Found], folder: str | None = None, *, overrules: bool = False) -> None:
        self.place = place
        self.overrules = overrules
        self._labels = labels
        self._folder = folder
        self._used: set[str] = set()

    def covers(self, path: str) -> bool:
        """Return whether the file speaks of the images in a path's folder."""
        return self._folder is None or path.rpartition("/")[0] == self._folder

    def find(self, path: str, placed: str) -> Found | None:
        """Return what the file says of an image, given its path in the tree and its path without packaging."""
        base = path.rpartition("/")[2]
        for name in (placed, path, base, base.rpartition(".")[0]):
            if name in self._labels:
                self._used.add(name)
                return self._labels[name]
        return None

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
        if name == TINY:
            labels = {line[0]: Found(line[1]) for line in _rows(where, _text(where, data), "\t", 2)}
            images = f"{folder}/images" if folder else "images"
            known.append(Labels(where, labels, images))
        elif name == SOLUTION:
            rows = list(_rows(where, _text(where, data), ",", 2))[1:]
            known.append(Labels(where, {row[0]: Found(row[1].split()[0]) for row in rows if row[1].split()}))
        elif name == GROUND_TRUTH:
            meta = next((files[path] for path in sorted(files) if path.rpartition("/")[2] == META), None)
            known.append(Labels(where, _ground_truth(where, _text(where, data), meta)))
    return known


def read_given(place: str, data: bytes, splits: frozenset[str] = frozenset()) -> Labels:
    """Read a label file that the user named.

    Either a CSV or tab-separated table whose header names a file and a label column (and perhaps ``split``), or lines of ``name label`` without a
    header.

    Raises:
        SourceError: a line has no label, a column is missing, a split is unknown.
    """
    text = _text(place, data)
    first = text.split("\n", 1)[0].rstrip("\r")
    delimiter = "\t" if "\t" in first else "," if "," in first else None
    rows = _numbered_rows(place, text, delimiter, 2)
    header = [cell.strip().lower() for cell in (first.split(delimiter) if delimiter else first.split())]
    if header and not is_image(header[0]) and (any(name in header for name in _NAME_COLUMNS) or any(name in header for name in _LABEL_COLUMNS)):
        name_at, label_at = _column(place, header, _NAME_COLUMNS), _column(place, header, _LABEL_COLUMNS)
        split_at = header.index("split") if "split" in header else None
        next(rows)
    else:
        name_at, label_at, split_at = 0, 1, None
    labels: dict[str, Found] = {}
    for number, row in rows:
        split = row[split_at].strip() or None if split_at is not None and split_at < len(row) else None
        if split is not None and not (split in splits if splits else is_split(split)):
            raise SourceError(f"{place}:{number}", f"unknown split {split!r}", nearest(split, splits or {"train", "val", "test"}))
        name = row[name_at].strip().removeprefix("./")
        if safe_relative(name) is None:
            raise SourceError(f"{place}:{number}", f"the name {name!r} leads out of the dataset", "write names relative to the dataset's folder")
        found = Found(row[label_at].strip() or None, split)
        if name in labels and labels[name] != found:
            raise SourceError(f"{place}:{number}", f"names {name!r} a second time with another label", "keep one of the two lines")
        labels[name] = found
    return Labels(place, labels, overrules=True)


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


def _rows(place: str, text: str, delimiter: str | None, least: int) -> Iterator[list[str]]:
    return (row for _, row in _numbered_rows(place, text, delimiter, least))


def _numbered_rows(place: str, text: str, delimiter: str | None, least: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its line."""
    lines = csv.reader(io.StringIO(text), delimiter=delimiter) if delimiter else (line.rsplit(None, 1) for line in text.split("\n"))
    for number, row in enumerate(lines, 1):
        if not any(row):
            continue
        if len(row) < least:
            raise SourceError(f"{place}:{number}", f"has no label: {' '.join(row)[:80]!r}", "write the image's name and its label on every line")
        yield number, row


def _text(place: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(place, f"is not UTF-8 text ({error.reason} at byte {error.start})", "save it as UTF-8") from error


def _column(place: str, header: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise SourceError(place, f"has no column {names[0]!r}; its columns are {', '.join(header)}", nearest(names[0], header))

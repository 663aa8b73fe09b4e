"""Arrays of images and labels: MNIST's IDX files, CIFAR, STL-10, ``.npz``, ``.mat`` and HDF5. Each image is read as a PNG of the same pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from threading import Lock
from typing import Any

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.array_files import BINARY, CIFAR, IDX, NAMED, Part, read_arrays_of
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import read_labels
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape, is_hidden, unescape
from audit.sources.storage.problems import Problem

KIND = "arrays"
RANK = 28
OPTIONS: frozenset[str] = frozenset()

_LEVELS = (
    *("", "raw/", "MNIST/raw/", "FashionMNIST/raw/", "cifar-10-batches-py/", "cifar-100-python/"),
    *("cifar-10-batches-bin/", "cifar-100-binary/", "stl10_binary/"),
)
"""Folders in which publishers and torchvision keep the files."""


class ArraysSource(StoredSource):
    """Images in arrays. Holds one file in memory."""

    def __init__(self, location: str, options: SourceOptions, files: list[str]) -> None:
        super().__init__(KIND, location, options, Storage(location, options.storage_options))
        self._files = files
        self._lock = Lock()
        self._held: tuple[str, list[tuple[str, Part]]] = ("", [])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_held")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock(), _held=("", []))

    def collect(self) -> Iterator[Sample]:
        """Yield one sample per image. Raises SourceError if a file is corrupt."""
        self.ignored.clear()
        self.problems.clear()
        for file in self._files:
            parts = self._parts(file)
            state = self.storage.fingerprint(self._path(file))
            for key, part in parts:
                if part.labels is not None and len(part.labels) != len(part.images):
                    problem = f"{file} has {counted(len(part.images), 'image')} but {counted(len(part.labels), 'label')}: none is used"
                    self.problems.append(Problem(kind="unmatched_labels", severity="error", problem=problem, hint="download both files again"))
                    part = part._replace(labels=None)  # noqa: PLW2901
                for number in range(len(part.images)):
                    label = None if part.labels is None else part.labels[number]
                    name = f"{key}/{number:06d}" + (f"-{part.names[number]}" if part.names else "")
                    ref = f"{escape(file)}#{escape(key)}#{number}"
                    split = self.options.split or part.split
                    yield Sample(name, ref, f"{state}-{number}", split, *read_labels(label, "label"))

    def read(self, source_ref: str) -> bytes:
        """Return an image as PNG. Raises OSError if there is none."""
        from PIL import Image

        file, key, number = source_ref.split("#")
        try:
            part = dict(self._parts(unescape(file)))[unescape(key)]
            pixels = part.images[int(number)]
        except (KeyError, IndexError, ValueError, SourceError) as error:
            raise FileNotFoundError(f"{source_ref!r} is not in {self.location}") from error
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        return out.getvalue()

    def _parts(self, file: str) -> list[tuple[str, Part]]:
        with self._lock:
            if self._held[0] != file:
                self._held = (file, list(read_arrays_of(self.storage, self._path(file), file)))
            return self._held[1]

    def _path(self, file: str) -> str:
        root = self.storage.root
        return root if self.storage.what_is(root) == "file" else self.storage.join(root, file)


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is such a file, or a folder with some."""
    return bool(_find(Storage(location, options.storage_options)))


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open the arrays. Raises SourceError."""
    files = _find(Storage(location, options.storage_options))
    if not files:
        raise SourceError(location, "contains no IDX file, CIFAR batch, .npz, .mat or HDF5 file with images", "pass the folder or file that does")
    return ArraysSource(location, options, files)


def _find(storage: Storage) -> list[str]:
    """Return the files with images of a location, relative to it."""
    root = storage.root
    if storage.what_is(root) == "file":
        name = root.rpartition("/")[2]
        return [name] if name.endswith(NAMED) or BINARY.match(name) or ((found := IDX.match(name)) and found["what"] == "images") else []
    files: list[str] = []
    for folder in _LEVELS if storage.protocol is None else _LEVELS[:1]:
        names = [name for name in storage.names(storage.join(root, folder) if folder else root) if not is_hidden(name)]
        is_cifar = bool({"batches.meta", "meta"} & {*names}) or any(name.startswith("data_batch_") for name in names)
        idx = [folder + name for name in names if (found := IDX.match(name)) and found["what"] == "images"]
        files += [name for name in idx if not (name.endswith(".gz") and name.removesuffix(".gz") in idx)]
        files += [folder + name for name in names if is_cifar and CIFAR.match(name)]
        is_binary = bool({"batches.meta.txt", "fine_label_names.txt", "class_names.txt"} & {*names}) or "data_batch_1.bin" in names
        files += [folder + name for name in names if is_binary and BINARY.match(name)]
        if names and all(name.endswith((*NAMED, ".txt", ".md")) for name in names):
            files += [folder + name for name in names if name.endswith(NAMED) and not _only_labels(name, names)]
    return files


def _only_labels(name: str, names: list[str]) -> bool:
    """Return whether a file has the labels of another file's images: ``train_y.h5`` beside ``train_x.h5``."""
    return "y" in name and any(other != name and other == name.replace("_y", "_x") for other in names)

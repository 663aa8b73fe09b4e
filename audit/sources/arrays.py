"""Arrays of images and labels: MNIST's IDX files, the Python batches of CIFAR, and ``.npz``. Each image is read as a PNG of the same pixels."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import read_labels
from audit.sources.annotations.layout import split_word
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape, is_hidden, unescape
from audit.sources.storage.problems import Problem

KIND = "arrays"
RANK = 28
OPTIONS: frozenset[str] = frozenset()

_IDX = re.compile(r"(?P<split>.*?)-?(?P<what>images|labels)[-.]idx(?P<axes>[13])-ubyte(\.gz)?$")
_CIFAR = re.compile(r"(data_batch_\d|test_batch|train|test)$")
_IMAGES = re.compile(r"(?:^|_)(x|images?|imgs?|data|arr_0)(?:_|$)", re.IGNORECASE)
_LABELS = re.compile(r"(?:^|_)(y|labels?|targets?|arr_1)(?:_|$)", re.IGNORECASE)

_LEVELS = ("", "raw/", "MNIST/raw/", "FashionMNIST/raw/", "cifar-10-batches-py/", "cifar-100-python/")
"""Folders in which publishers and torchvision keep the files."""


_MOST_BYTES = 8 << 30
"""Decompressed bytes of one file that are read: a small file can hold more than the memory."""


class Part(NamedTuple):
    """Images of one file, with what is known of each."""

    split: str | None
    images: npt.NDArray[np.uint8]
    """``[n, h, w]`` or ``[n, h, w, 3]``."""
    labels: Sequence[object] | None
    names: Sequence[str] | None
    """File names of the originals, for images that have some."""


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
                self._held = (file, list(_read(self.storage, self._path(file), file)))
            return self._held[1]

    def _path(self, file: str) -> str:
        root = self.storage.root
        return root if self.storage.what_is(root) == "file" else self.storage.join(root, file)


def _read(storage: Storage, path: str, file: str) -> Iterator[tuple[str, Part]]:
    """Yield the images of a file by name. Raises SourceError if it is corrupt."""
    name = file.rpartition("/")[2]
    try:
        if found := _IDX.match(name):
            labels = name.replace("images", "labels").replace("idx3", "idx1")
            there = next(
                (storage.join(storage.parent(path), other) for other in _both(labels) if storage.what_is(storage.join(storage.parent(path), other))),
                None,
            )
            part = Part(
                split_word(found["split"]) or _mnist_split(found["split"]),
                _idx(storage.read(path)),
                None if there is None else _idx(storage.read(there)).tolist(),
                None,
            )
            yield found["split"] or "images", part
        elif name.endswith(".npz"):
            yield from _npz(storage.read(path), name)
        else:
            yield name, _cifar(storage, path, name)
    except (ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, AttributeError, IndexError) as error:
        raise SourceError(path, f"is not a readable file of arrays ({error})", "download it again, or check that it is complete") from error


def _both(name: str) -> tuple[str, str]:
    bare = name.removesuffix(".gz")
    return bare, bare + ".gz"


def _mnist_split(name: str) -> str | None:
    return "test" if name.startswith("t10k") else None


def _idx(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file. Source of the format: http://yann.lecun.com/exdb/mnist/."""
    if data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(_MOST_BYTES)
    if data[:3] != b"\0\0\x08" or not data[3:4]:
        raise ValueError("no IDX file of bytes")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


class _Plain(pickle.Unpickler):
    """Reads lists, dictionaries, bytes and NumPy arrays; refuses every other object, so that no code of the file runs."""

    _ARRAYS = frozenset({"_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "numpy" and name in self._ARRAYS:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding) if encoding == "latin1" else b""
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not data")


def _plain(data: bytes) -> dict[str, Any]:
    found = _Plain(io.BytesIO(data), encoding="bytes").load()
    if not isinstance(found, dict):
        raise TypeError("no dictionary")
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in found.items()}


def _cifar(storage: Storage, path: str, name: str) -> Part:
    """Return a batch of CIFAR-10 or CIFAR-100. Source of the format: https://www.cs.toronto.edu/~kriz/cifar.html."""
    batch = _plain(storage.read(path))
    images = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    key, names = ("fine_labels", "fine_label_names") if "fine_labels" in batch else ("labels", "label_names")
    words: list[str] = []
    for meta in ("batches.meta", "meta"):
        there = storage.join(storage.parent(path), meta)
        if storage.what_is(there) == "file":
            words = [word.decode() if isinstance(word, bytes) else str(word) for word in _plain(storage.read(there)).get(names, [])]
    labels = [words[int(number)] if 0 <= int(number) < len(words) else int(number) for number in batch[key]]
    originals = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in batch.get("filenames", [])]
    return Part("test" if "test" in name else "train", np.ascontiguousarray(images), labels, originals if len(originals) == len(images) else None)


def _npz(data: bytes, name: str) -> Iterator[tuple[str, Part]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (size := sum(member.file_size for member in archive.infolist())) > _MOST_BYTES:
            raise ValueError(f"{size:,} bytes of arrays; store at most {_MOST_BYTES:,} in a file")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays: Mapping[str, npt.NDArray[Any]] = {key: file[key] for key in file.files}
    stem = name.removesuffix(".npz")
    for key, images in arrays.items():
        if images.ndim not in (3, 4) or not _IMAGES.search(key):
            continue
        rest = _IMAGES.sub("_", key).strip("_")
        match = (other for other in arrays if _LABELS.search(other) and _LABELS.sub("_", other).strip("_") == rest)
        labels = next((arrays[other] for other in match if arrays[other].ndim == 1 or arrays[other].shape[1:] == (1,)), None)
        yield (
            f"{stem}/{key}",
            Part(split_word(key) or split_word(stem), _bytes(images), None if labels is None else labels.reshape(-1).tolist(), None),
        )


def _bytes(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return images as ``[n, h, w]`` or ``[n, h, w, 3]`` of 8 bits. Raises ValueError for any other shape or range."""
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim == 4 and images.shape[3] != 3:
        raise ValueError(f"images of shape {images.shape}")
    if images.dtype.kind == "f":
        low, high = float(images.min(initial=0)), float(images.max(initial=0))
        if low < 0 or high > 255:
            raise ValueError(f"values from {low:g} to {high:g}; store them as 8 bits")
        images = np.rint(images * 255) if high <= 1 else np.rint(images)
    elif images.size and (images.min() < 0 or images.max() > 255):
        raise ValueError(f"values from {images.min()} to {images.max()}; store them as 8 bits")
    return np.ascontiguousarray(images.astype(np.uint8))


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is such a file, or a folder with some."""
    return bool(_find(Storage(location, options.storage_options)))


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open the arrays. Raises SourceError."""
    files = _find(Storage(location, options.storage_options))
    if not files:
        raise SourceError(location, "contains no IDX file, CIFAR batch or .npz with images", "pass the folder or file that does")
    return ArraysSource(location, options, files)


def _find(storage: Storage) -> list[str]:
    """Return the files with images of a location, relative to it."""
    root = storage.root
    if storage.what_is(root) == "file":
        name = root.rpartition("/")[2]
        return [name] if name.endswith(".npz") or ((found := _IDX.match(name)) and found["what"] == "images") else []
    files: list[str] = []
    for folder in _LEVELS if storage.protocol is None else _LEVELS[:1]:
        names = [name for name in storage.names(storage.join(root, folder) if folder else root) if not is_hidden(name)]
        is_cifar = bool({"batches.meta", "meta"} & {*names}) or any(name.startswith("data_batch_") for name in names)
        idx = [folder + name for name in names if (found := _IDX.match(name)) and found["what"] == "images"]
        files += [name for name in idx if not (name.endswith(".gz") and name.removesuffix(".gz") in idx)]
        files += [folder + name for name in names if is_cifar and _CIFAR.match(name)]
        files += (
            [folder + name for name in names if name.endswith(".npz")]
            if names and all(name.endswith((".npz", ".txt", ".md")) for name in names)
            else []
        )
    return files

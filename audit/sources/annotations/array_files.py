"""Files of arrays with images and labels: IDX, CIFAR and STL-10 in their Python and binary versions, ``.npz``, MATLAB's ``.mat`` and HDF5."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.errors import SourceError
from audit.sources.annotations.layout import split_word
from audit.sources.storage.files import Storage

IDX = re.compile(r"(?P<split>.*?)-?(?P<what>images|labels)[-.]idx(?P<axes>[13])-ubyte(\.gz)?$")
CIFAR = re.compile(r"(data_batch_\d|test_batch|train|test)$")
BINARY = re.compile(r"(data_batch_\d|test_batch|train|test|(?:train|test|unlabeled)_X)\.bin$")
"""Batches of CIFAR and STL-10 in the binary versions."""
NAMED = (".npz", ".mat", ".h5", ".hdf5")
"""Endings of files whose arrays have names."""

_IMAGES = re.compile(r"(?:^|_)(x|images?|imgs?|data|arr_0)(?:_|$)", re.IGNORECASE)
_LABELS = re.compile(r"(?:^|_)(y|labels?|targets?|arr_1)(?:_|$)", re.IGNORECASE)

_MOST_BYTES = 8 << 30
"""Decompressed bytes of one file that are read: a small file can hold more than the memory."""


_CORRUPT = (
    *(ValueError, KeyError, TypeError, EOFError, AttributeError, IndexError, OverflowError),
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile),
)


class Part(NamedTuple):
    """Images of one file, with what is known of each."""

    split: str | None
    images: npt.NDArray[np.uint8]
    """``[n, h, w]`` or ``[n, h, w, 3]``."""
    labels: Sequence[object] | None
    names: Sequence[str] | None
    """File names of the originals, for images that have some."""


def read_arrays_of(storage: Storage, path: str, file: str) -> Iterator[tuple[str, Part]]:
    """Yield the images of a file by name. Raises SourceError if it is corrupt."""
    name = file.rpartition("/")[2]
    try:
        if found := IDX.match(name):
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
        elif name.endswith(NAMED):
            yield from _named_arrays(storage, path, name)
        elif name.endswith(".bin"):
            yield name.removesuffix(".bin"), _binary(storage, path, name)
        else:
            yield name, _cifar(storage, path, name)
    except _CORRUPT as error:
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


def _binary(storage: Storage, path: str, name: str) -> Part:
    """Return a batch of CIFAR-10, CIFAR-100 or STL-10. Sources: https://www.cs.toronto.edu/~kriz/cifar.html, https://cs.stanford.edu/~acoates/stl10."""
    data, folder = np.frombuffer(storage.read(path), np.uint8), storage.parent(path)
    split = "test" if name.startswith("test") else None if name.startswith("unlabeled") else "train"
    if name.endswith("_X.bin"):
        images, there = data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1), storage.join(folder, name.replace("_X", "_y"))
        numbers = np.frombuffer(storage.read(there), np.uint8).astype(int) - 1 if storage.what_is(there) == "file" else None  # they start at 1
        names = "class_names.txt"
    else:
        names = "batches.meta.txt" if "batch" in name else "fine_label_names.txt"
        before = 1 if "batch" in name else 2  # CIFAR-100: coarse label, fine label
        rows = data.reshape(-1, before + 3072)
        images, numbers = rows[:, before:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, before - 1].astype(int)
    file = storage.join(folder, names)
    words = storage.read(file).decode("utf-8", "replace").split() if storage.what_is(file) == "file" else []
    labels = None if numbers is None else [words[number] if 0 <= number < len(words) else number for number in numbers.tolist()]
    return Part(split, np.ascontiguousarray(images), labels, None)


def _named_arrays(storage: Storage, path: str, name: str) -> Iterator[tuple[str, Part]]:
    """Yield the images among named arrays, each with the labels whose name differs only in that word; also those of a file of labels (PCam)."""
    arrays, stem = _arrays(storage, path), name.rpartition(".")[0]
    others: Mapping[str, npt.NDArray[Any]] = {}
    if len(arrays) == 1 and _IMAGES.search(stem):
        there = storage.join(storage.parent(path), _IMAGES.sub(lambda word: word[0].replace("x", "y"), stem) + name[len(stem) :])
        others = _arrays(storage, there) if there != path and storage.what_is(there) == "file" else {}
    for key, images in arrays.items():
        if images.ndim not in (3, 4) or not _IMAGES.search(key):
            continue
        rest = _IMAGES.sub("_", key).strip("_")
        candidates = {**arrays, **others}
        match = (other for other in candidates if _LABELS.search(other) and _LABELS.sub("_", other).strip("_") == rest)
        labels = next((candidates[other].reshape(-1) for other in match if max(candidates[other].shape, default=0) == candidates[other].size), None)
        split = split_word(key) or split_word(stem)
        yield f"{stem}/{key}", Part(split, _bytes(images), None if labels is None else labels.tolist(), None)


def _arrays(storage: Storage, path: str) -> Mapping[str, npt.NDArray[Any]]:
    """Return the arrays of a file by name, images first. Raises ValueError if they would not fit into memory, or if the file is corrupt."""
    if path.endswith((".h5", ".hdf5")):
        return _hdf5(storage, path)
    data = storage.read(path)
    if path.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_space(sum(member.file_size for member in archive.infolist()))
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    if data.startswith(b"MATLAB 7.3"):
        return {key: _images_first(array.T) for key, array in _hdf5(storage, path).items()}  # MATLAB counts axes from the other end
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        kept = {name: 8 * math.prod(shape) for name, shape, kind in whosmat(io.BytesIO(data)) if kind in _NUMBERS}
        _require_space(sum(kept.values()))
        return {
            key: _images_first(array) for key, array in loadmat(io.BytesIO(data), variable_names=[*kept]).items() if isinstance(array, np.ndarray)
        }
    except MatReadError as error:
        raise ValueError(str(error)) from error


_NUMBERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "single", "double", "logical"})


def _images_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array of images, of which MATLAB's programs count the last axis, with that axis first."""
    return np.moveaxis(array, -1, 0) if array.ndim == 4 and array.shape[2] in (1, 3) and array.shape[3] not in (1, 3) else array


def _hdf5(storage: Storage, path: str) -> Mapping[str, npt.NDArray[Any]]:
    """Return the arrays of an HDF5 file; those whose values are in other files are not read."""
    try:
        import h5py
    except ImportError as error:
        raise SourceError(path, "is an HDF5 file, which needs the package h5py", "pip install 'imagenet-audit[hdf5]'") from error

    found: dict[str, npt.NDArray[Any]] = {}

    def take(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset) and entry.dtype.kind in "biuf" and not entry.external and not entry.is_virtual:
            _require_space(entry.size * entry.dtype.itemsize)
            found[name.replace("/", "_")] = entry[()]

    try:
        with storage.open(path) as stream, h5py.File(stream, "r") as file:
            file.visititems(take)
    except OSError as error:
        raise ValueError(str(error)) from error
    return found


def _require_space(size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"{size:,} bytes of arrays; store at most {_MOST_BYTES:,} in a file")


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

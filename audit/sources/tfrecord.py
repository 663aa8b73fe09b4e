"""TFRecord files of ``tf.train.Example`` with encoded images, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from audit.errors import SourceError
from audit.images.signatures import image_format
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import read_labels
from audit.sources.annotations.layout import split_of_file
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.archives import member_ref
from audit.sources.storage.files import Storage
from audit.sources.storage.names import sample_id, unescape
from audit.sources.storage.problems import NOT_LISTED, Problem

KIND = "tfrecord"
RANK = 45
OPTIONS = frozenset({"image_column", "label_column"})

_NAMES = ("tfrecord", "tfrec", "tfrecords")
_IMAGES = ("image/encoded", "image", "image_raw", "image_bytes", "jpeg", "png", "encoded", "img")
_LABELS = ("image/class/text", "image/class/label", "label", "labels", "class", "image/label", "target", "class_name")
_FILES = ("image/filename", "filename", "file_name", "id", "image_id", "image/source_id", "image_name")
_MOST_BYTES = 1 << 31


class TFRecordSource(StoredSource):
    """Images in records."""

    def __init__(self, location: str, options: SourceOptions, files: list[str]) -> None:
        super().__init__(KIND, location, options, Storage(location, options.storage_options))
        self._files = files

    def collect(self) -> Iterator[Sample]:
        """Yield one sample per record. The records are read, since labels are stored between the images."""
        self.ignored.clear()
        self.problems.clear()
        unread = 0
        for file in self._files:
            path = self._path(file)
            split = self.options.split or split_of_file(file)
            state = self.storage.fingerprint(path)
            with self.storage.open(path) as records:
                for number, (offset, data) in enumerate(self._records(records, file)):
                    try:
                        example = parse_example(data)
                        column = _image_column(example, self.options)
                    except (ValueError, IndexError):
                        column = None
                    if column is None:
                        unread += 1
                        continue
                    label = next((name for name in (self.options.label_column, *_LABELS) if name and example.get(name)), None)
                    value = None if label is None else [_text(part) for part in example[label]]
                    name = next((_text(example[key][0]) for key in _FILES if example.get(key)), "")
                    others = {
                        key: _text(values[0])
                        for key, values in example.items()
                        if key not in (column, label) and len(values) == 1 and _is_short(values[0])
                    }
                    sample = f"{file.rpartition('.')[0]}/{number:06d}{'-' + str(name).rpartition('/')[2] if name else ''}"
                    yield Sample(
                        sample_id(sample), member_ref(file, offset, len(data)), f"{state}-{number}", split, *read_labels(value, "labels"), others
                    )
        if unread:
            problem = f"{counted(unread, 'record')} without an encoded image are not listed"
            hint = "name the feature with the image as --image-column (image_column)"
            self.problems.append(Problem(kind=NOT_LISTED, severity="error", problem=problem, hint=hint, evidence={"entries": unread}))

    def read(self, source_ref: str) -> bytes:
        """Return a record's image. Raises OSError if it cannot be read."""
        file, _, span = source_ref.rpartition("#")
        offset, _, size = span.partition("+")
        try:
            example = parse_example(self.storage.read_range(self._path(unescape(file)), int(offset), int(size)))
            column = _image_column(example, self.options)
        except (ValueError, IndexError) as error:
            raise OSError(f"a record of {file} is corrupt: {error}") from error
        if column is None:
            raise FileNotFoundError(f"a record of {file} has no image")
        return bytes(example[column][0])

    def _path(self, file: str) -> str:
        root = self.storage.root
        return root if self.storage.what_is(root) == "file" else self.storage.join(root, file)

    def _records(self, file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
        """Yield offset and bytes of each record: length, checksum, bytes, checksum (the format's definition is TensorFlow's ``record_writer.h``)."""
        at = 0
        while head := file.read(12):
            size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else _MOST_BYTES
            data = file.read(size + 4) if size < _MOST_BYTES else b""
            if len(data) != size + 4:
                if at == 0:
                    hint = "decompress it with gunzip" if head[:2] == b"\x1f\x8b" else "download it again, or check that it is complete"
                    raise SourceError(name, "is not a readable TFRecord file", hint)
                problem = f"{name} ends inside a record at byte {at:,}; the rest could not be listed"
                evidence = {"archive": name, "start": at}
                self.problems.append(Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="download it again", evidence=evidence))
                return
            yield at + 12, data[:-4]
            at += 16 + size


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """Return the features of a ``tf.train.Example`` by name: lists of bytes, integers or floats. Raises ValueError or IndexError if it is corrupt.

    Example{1: Features{1: map<1: name, 2: Feature{1: bytes | 2: floats | 3: integers, each a list in field 1}>}}
    """
    found: dict[str, list[Any]] = {}
    for _, features in _fields(data, {1}):
        for _, entry in _fields(features, {1}):
            parts = dict(_fields(entry, {1, 2}))
            for kind, values in _fields(parts.get(2, b""), {1, 2, 3}):
                found[parts.get(1, b"").decode()] = list(_values(kind, values))
    return found


def _values(kind: int, data: bytes) -> Iterator[Any]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 2:
            size, at = _varint(data, at)
            part = data[at : at + size]
            at += size
            if len(part) != size:
                raise ValueError("a value is cut")
            if kind == 1:
                yield part
            elif kind == 2:
                yield from struct.unpack(f"<{size // 4}f", part[: size // 4 * 4])
            else:
                inner = 0
                while inner < size:
                    number, inner = _varint(part, inner)
                    yield _signed(number)
        elif wire == 5:
            yield struct.unpack_from("<f", data + bytes(4), at)[0]
            at += 4
        elif wire == 0:
            number, at = _varint(data, at)
            yield _signed(number)
        else:
            raise ValueError(f"wire type {wire}")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _fields(data: bytes, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the length-delimited fields of a message. Raises ValueError if it is corrupt."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 != 2:
            raise ValueError(f"wire type {key & 7}")
        size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("a field is cut")
        if key >> 3 in wanted:
            yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("a number is too long")


def _image_column(example: Mapping[str, list[Any]], options: SourceOptions) -> str | None:
    if options.image_column is not None:
        return options.image_column if example.get(options.image_column) else None
    usual = next((name for name in _IMAGES if example.get(name) and isinstance(example[name][0], bytes)), None)
    return usual or next((name for name, values in example.items() if values and isinstance(values[0], bytes) and image_format(values[0][:64])), None)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_short(value: Any) -> bool:
    return not isinstance(value, bytes) or len(value) <= 256


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a TFRecord file, or a folder with some and without images."""
    return bool(_find(Storage(location, options.storage_options)))


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open TFRecord files. Raises SourceError."""
    files = _find(Storage(location, options.storage_options))
    if not files:
        raise SourceError(location, "contains no TFRecord file", "their names contain tfrecord")
    return TFRecordSource(location, options, files)


def _find(storage: Storage) -> list[str]:
    root = storage.root
    if storage.what_is(root) == "file":
        return [root.rpartition("/")[2]] if _is_tfrecord(root) else []
    names = storage.names(root)
    found = [name for name in names if _is_tfrecord(name)]
    for folder in () if found else (name for name in names if storage.protocol is None and split_of_file(name)):
        found += [f"{folder}/{name}" for name in storage.names(storage.join(root, folder)) if _is_tfrecord(name)]
    return found


def _is_tfrecord(path: str) -> bool:
    return any(f".{part}" in path.rpartition("/")[2].lower() for part in _NAMES) and not path.lower().endswith((".index", ".json", ".txt"))

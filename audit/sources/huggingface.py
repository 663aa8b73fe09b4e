"""Parquet files that contain the images, as Hugging Face datasets store them: a column of ``{bytes, path}`` and a column of class numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from threading import Lock
from typing import Any

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import find_columns, metadata, read_labels, refuse_misspelt_splits, require_column, without_labels
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.files import Storage, require_size
from audit.sources.storage.names import escape, is_image, unescape
from audit.sources.storage.parquet import open_parquet, rows_of
from audit.sources.storage.problems import EXAMPLES, NOT_LISTED, Problem, named

KIND = "huggingface"
RANK = 30
OPTIONS = frozenset({"image_column", "path_column", "label_column", "split_column"})

_SHARD = re.compile(r"^(?P<split>[^/]+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet$")


class ParquetImages(StoredSource):
    """Images in the rows of Parquet files. Holds the images of one row group in memory."""

    def __init__(self, location: str, options: SourceOptions, shards: list[str], image_column: str) -> None:
        super().__init__(KIND, location, options, Storage(location, options.storage_options))
        self._shards = shards
        self._image_column = image_column
        self._lock = Lock()
        self._group: tuple[str, list[Any]] = ("", [])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_group")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock(), _group=("", []))

    def collect(self) -> Iterator[Sample]:
        """Yield one sample per row; image bytes are not read."""
        self.ignored.clear()
        self.problems.clear()
        if not self.storage.root.endswith(".parquet"):  # a single file is a deliberate choice: its siblings are not missing
            self._report_missing_shards()
        splits: dict[str, str] = {}
        names: set[str] = set()
        for shard in self._shards:
            with self.storage.open(self._path(shard)) as file:
                table = open_parquet(file, shard)
                image = _image_column(table.schema_arrow, self.options, self._image_column)
                if image is None:
                    self._report_no_images(shard, table.metadata.num_rows)
                    continue
                yield from self._rows(shard, table, image, splits, names)
        refuse_misspelt_splits(splits)

    def _rows(self, shard: str, table: Any, image: str, splits: dict[str, str], names: set[str]) -> Iterator[Sample]:
        """Yield a shard's samples; add to the splits and names seen so far."""
        state = self.storage.fingerprint(self._path(shard))
        named = _SHARD.match(shard.rpartition("/")[2])
        schema = table.schema_arrow
        others = [name for name in schema.names if name != image]
        columns = find_columns(self.location, others, self.options, needs=())
        self.problems += [problem for problem in without_labels(self.location, others, columns) if problem not in self.problems]
        classes = _classes(schema.metadata, columns.label)
        wanted = [*others, *([f"{image}.path"] if _has_field(schema.field(image), "path") else [])]
        for group in range(table.num_row_groups):
            rows = rows_of(table.read_row_group(group, columns=wanted), self.location) if wanted else repeat({})
            for number, given in zip(range(table.metadata.row_group(group).num_rows), rows, strict=False):
                row = dict(given)
                path = (row.pop(image, None) or {}).get("path") or ""
                value = row.get(columns.label or "")
                if classes and isinstance(value, int):
                    value = classes[value] if 0 <= value < len(classes) else None
                label, labels = read_labels(value, columns.label or "")
                split = self.options.split or row.get(columns.split or "") or (named["split"] if named else None)
                split = None if split in (None, "") else str(split)
                if split is not None:
                    splits.setdefault(split, f"{shard} row {number} of row group {group}")
                row_id = f"{shard.removesuffix('.parquet')}/{group:04d}-{number:06d}{'-' + path if path else ''}"
                name = path if "/" in path and path not in names else row_id
                names.add(name)
                yield Sample(name, f"{escape(shard)}#{group}.{number}", f"{state}-{group}-{number}", split, label, labels, metadata(row, columns))

    def _report_missing_shards(self) -> None:
        if missing := _missing(self._shards):
            problem = f"{counted(len(missing), 'shard')} of numbered sets missing, rows not listed: {named(missing, len(missing))}"
            evidence = {"entries": len(missing), "names": missing[:EXAMPLES]}
            self.problems.append(Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="download them", evidence=evidence))

    def _report_no_images(self, shard: str, rows: int) -> None:
        """Report a file without an image column: an error for a shard of a numbered set, a warning for any other file."""
        of_set = _SHARD.match(shard.rpartition("/")[2]) is not None
        problem = f"{shard} has no image column, unlike the files next to it: {counted(rows, 'row')} not listed"
        kind, severity = (NOT_LISTED, "error") if of_set else ("no_image_column", "warning")
        hint = "recreate the file" if of_set else "move it elsewhere if it is not part of the dataset"
        self.problems.append(Problem(kind=kind, severity=severity, problem=problem, hint=hint, evidence={"archive": shard, "entries": rows}))

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if the row has none."""
        shard, _, position = source_ref.rpartition("#")
        group, _, number = position.partition(".")
        with self._lock:
            if self._group[0] != f"{shard}#{group}":
                self._group = (f"{shard}#{group}", self._images(unescape(shard), int(group)))
            data = self._group[1][int(number)].as_py()
        data = data.get("bytes") if isinstance(data, dict) else data
        require_size(None if data is None else len(data))
        if data is None:
            raise FileNotFoundError(f"row {position} of {shard} has no image bytes")
        return bytes(data)

    def _images(self, shard: str, group: int) -> Any:
        with self.storage.open(self._path(shard)) as file:
            table = open_parquet(file, shard)
            image = _image_column(table.schema_arrow, self.options, self._image_column)
            return table.read_row_group(group, columns=[image]).column(image)

    def _path(self, shard: str) -> str:
        root = self.storage.root
        return root if root.endswith(".parquet") else self.storage.join(root, shard)


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a Parquet file, or a folder of them, with an image column."""
    return _find_shards(Storage(location, options.storage_options), options) is not None


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open Parquet files with images. Raises SourceError."""
    found = _find_shards(Storage(location, options.storage_options), options)
    if found is None:
        hint = "name the column with `image_column`, or set `kind` to manifest for a list of paths"
        raise SourceError(location, "contains no Parquet file with an image column", hint)
    return ParquetImages(location, options, *found)


def _find_shards(storage: Storage, options: SourceOptions) -> tuple[list[str], str] | None:
    """Return the files and the name of their image column, or None."""
    root = storage.root
    if root.endswith(".parquet"):
        shards = [root.rpartition("/")[2]] if storage.what_is(root) == "file" else []
    else:
        folders = [("", root), ("data/", storage.join(root, "data"))]
        names = [prefix + name for prefix, folder in folders for name in storage.names(folder)]
        shards = [name for name in names if name.endswith(".parquet")]
        if any(is_image(name) for name in names) and not all(_SHARD.match(name.rpartition("/")[2]) for name in shards):
            return None  # a folder of images that also contains a table
    schema = None
    for shard in shards:
        schema = _schema(storage, root if root.endswith(".parquet") else storage.join(root, shard))
        image = _image_column(schema, options, None)
        if image is not None:
            return shards, image
    if schema is not None and options.image_column is not None:
        require_column(storage.location, options.image_column, schema.names)
    return None


def _missing(shards: Iterable[str]) -> list[str]:
    """Return the missing files of numbered sets.

    >>> _missing(["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"])
    ['train-00001-of-00002.parquet']
    """
    sets: dict[tuple[str, str], set[int]] = {}
    for shard in shards:
        folder, slash, name = shard.rpartition("/")
        if of_set := _SHARD.match(name):
            sets.setdefault((f"{folder}{slash}{of_set['split']}", of_set["count"]), set()).add(int(of_set["number"]))
    return [
        f"{head}-{number:05d}-of-{count}.parquet"
        for (head, count), present in sorted(sets.items())
        for number in range(int(count))
        if number not in present
    ]


def _schema(storage: Storage, path: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open(path) as file:
            return pq.ParquetFile(file).schema_arrow
    except pa.ArrowInvalid as error:
        raise SourceError(path, f"is not a valid Parquet file ({error})", "download it again, or check that it is complete") from error


def _image_column(schema: Any, options: SourceOptions, usual: str | None) -> str | None:
    """Return the image column: the one set in the options, else one of ``{bytes, path}`` or of bytes, else the column ``usual``.

    A column whose rows are all null has no type to recognise, hence the last case.
    """
    if options.image_column is not None:
        return options.image_column if options.image_column in schema.names else None
    found = next((field.name for field in schema if _has_field(field, "bytes") or _is_blob(field)), None)
    return found or (usual if usual in schema.names else None)


def _is_blob(field: Any) -> bool:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_field(field: Any, name: str) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(field.type) and field.type.get_field_index(name) >= 0)


def _classes(schema_metadata: dict[bytes, bytes] | None, label: str | None) -> list[str]:
    try:
        features = json.loads((schema_metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []

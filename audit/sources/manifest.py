"""A CSV, TSV or Parquet table with one row per image: path, label or labels, split, and whatever else."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from audit.errors import SourceError
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.class_words import find_class_words
from audit.sources.columns import find_columns, metadata, read_labels, refuse_misspelt_splits
from audit.sources.names import escape, sample_id, unescape
from audit.sources.problems import Problem
from audit.sources.storage import MISSING, Storage

KIND = "manifest"
RANK = 40
OPTIONS = frozenset({"path_column", "label_column", "split_column"})

_FOLDERS_REMEMBERED = 64

_TEXTS = (".csv", ".tsv")


class ManifestSource:
    """Images named by the rows of a table; relative paths start at the table's folder."""

    kind = KIND

    def __init__(self, location: str, options: SourceOptions) -> None:
        self.location = location
        self.options = options
        self.ignored: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._table = Storage(location, options.storage_options)

    def class_words(self, labels: Iterable[str]) -> dict[str, str]:
        """Return words for those labels that have some. Raises SourceError."""
        return find_class_words(self._table, self.options, labels)

    def collect(self) -> Iterator[Sample]:
        """Yield a sample per row. Raises SourceError where a column is missing or a line is malformed."""
        rows = self._text_rows() if self._is_text() else self._parquet_rows()
        columns = None
        splits: dict[str, str] = {}
        listed: dict[str, dict[str, str] | None] = {}
        for place, row in rows:
            columns = columns or find_columns(self.location, list(row), self.options)
            path = row[columns.path or ""]
            if not isinstance(path, str) or not path:
                raise SourceError(place, "has no path", "give every row the path of its image")
            label, labels = read_labels(row[columns.label], columns.label) if columns.label else (None, None)
            split = self.options.split or (row[columns.split] if columns.split else None)
            split = None if split in (None, "") else str(split)
            if split is not None:
                splits.setdefault(split, place)
            path = path.removeprefix("./")
            yield Sample(sample_id(path), escape(path), self._fingerprint(path, listed), split, label, labels, metadata(row, columns))
        refuse_misspelt_splits(splits)

    def places(self, wanted: str) -> list[str]:
        """Return where in the table a sample id stands."""
        rows = self._text_rows() if self._is_text() else self._parquet_rows()
        named = ((place, row[find_columns(self.location, list(row), self.options).path or ""]) for place, row in rows)
        return [place for place, path in named if isinstance(path, str) and sample_id(path.removeprefix("./")) == wanted]

    def _is_text(self) -> bool:
        return self.location.lower().endswith(_TEXTS)

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError where they cannot be had."""
        storage, path = self._image(unescape(source_ref))
        return storage.read(path)

    def _fingerprint(self, path: str, listed: dict[str, dict[str, str] | None]) -> str:
        """Ask a remote store for whole folders: a request per image would take hours."""
        storage, where = self._image(path)
        folder = storage.parent(where)
        if folder not in listed:
            if len(listed) >= _FOLDERS_REMEMBERED:
                listed.pop(next(iter(listed)))
            listed[folder] = storage.fingerprints(folder)
        known = listed[folder]
        return storage.fingerprint(where) if known is None else known.get(where, MISSING)

    def _image(self, path: str) -> tuple[Storage, str]:
        if "://" in path:
            storage = Storage(path, self.options.storage_options)
            return storage, storage.root
        if path.startswith("/") and self._table.protocol is None:
            return self._table, path
        return self._table, self._table.join(self._table.parent(self._table.root), path)

    def _text_rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        delimiter = "\t" if self.location.lower().endswith(".tsv") else ","
        with self._table.open(self._table.root) as file, io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
            lines = csv.reader(text, delimiter=delimiter)
            header = next(lines, [])
            find_columns(self.location, header, self.options)
            for row in lines:
                place = f"{self.location}:{lines.line_num}"
                if row and len(row) != len(header):
                    raise SourceError(place, f"has {len(row)} cells where the header has {len(header)}", "quote cells that hold the separator")
                if row:
                    yield place, dict(zip(header, row, strict=True))

    def _parquet_rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        import pyarrow.parquet as pq

        with self._table.open(self._table.root) as file:
            table = pq.ParquetFile(file)
            find_columns(self.location, table.schema_arrow.names, self.options)
            number = 0
            for batch in table.iter_batches(8192):
                for row in batch.to_pylist():
                    yield f"{self.location} row {number}", row
                    number += 1


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the place is a table."""
    storage = Storage(location, options.storage_options)
    return location.lower().endswith((*_TEXTS, ".parquet")) and storage.what_is(storage.root) == "file"


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a table. Raises SourceError."""
    storage = Storage(location, options.storage_options)
    if storage.what_is(storage.root) != "file":
        raise SourceError(location, "there is no such file", "check the spelling")
    return ManifestSource(location, options)

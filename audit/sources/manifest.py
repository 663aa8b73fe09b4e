"""A CSV, TSV, JSON Lines or Parquet table with one row per image: path, label or labels, split, and metadata columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from audit.errors import SourceError
from audit.io.console import counted
from audit.io.spreadsheet import read_rows, require_text
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import (
    assumed_splits,
    find_columns,
    metadata,
    read_split,
    refuse_misspelt_splits,
    refuse_nested,
    titles_of,
    without_labels,
)
from audit.sources.annotations.json_lines import read_objects
from audit.sources.annotations.label_cells import LabelCells, survey
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.files import LISTED_PROTOCOLS, MISSING, Storage, require_file, require_reachable
from audit.sources.storage.names import escape, sample_id, unescape
from audit.sources.storage.problems import Problem, Tally

KIND = "manifest"
RANK = 40
OPTIONS = frozenset({"path_column", "label_column", "split_column"})

NO_PATH = "(no path)"

_FOLDERS_REMEMBERED = 64

_SHOWN_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
"""How `audit.sources.storage.names.sample_id` writes bytes that are not valid UTF-8."""

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


class ManifestSource(StoredSource):
    """Images listed in a table; paths are relative to the table's folder."""

    def collect(self) -> Iterator[Sample]:
        """Yield one sample per row. Raises SourceError if a column is missing or a line is malformed."""
        self.ignored.clear()
        self.problems.clear()
        splits: dict[str, str] = {}
        paths = _Paths()
        for where, sample in self._entries(paths):
            if sample.split is not None:
                splits.setdefault(sample.split, where)
            yield sample
        refuse_misspelt_splits(splits)
        if paths.cells is not None:
            self.problems += self._of_columns(paths.cells)
        self.problems += paths.problems(self.location)
        if paths.pathless.count:
            self.ignored[NO_PATH] = paths.pathless.count

    def _of_columns(self, cells: LabelCells) -> list[Problem]:
        _, row = next(self._rows())
        found = assumed_splits(self.location, cells.columns, self.options)
        return found if cells.one_hot else [*found, *without_labels(self.location, list(row), cells.columns)]

    def locate(self, wanted: str) -> list[str]:
        """Return the lines that list a sample id."""
        return [where for where, sample in self._entries(_Paths()) if sample.sample_id == wanted]

    def _entries(self, paths: _Paths) -> Iterator[tuple[str, Sample]]:
        cells: LabelCells | None = None
        listed: dict[str, dict[str, str] | None] = {}
        for where, row in self._rows():
            if cells is None:
                cells = paths.cells = self._survey(list(row))
                columns = cells.columns
            written = row.get(columns.path or "")
            if not isinstance(written, str) or not written.strip():
                paths.pathless.add(where)
                continue
            if "://" in written:
                _require_allowed(where, written.strip(), self.options)
            path, fingerprint = self._stored(written, listed)
            paths.note(written, path, fingerprint)
            refuse_nested(where, row, columns)
            label, labels = cells.read(row)
            split = self.options.split or read_split(row.get(columns.split or ""), columns.split)
            yield where, Sample(sample_id(path), escape(path), fingerprint, split, label, labels, metadata(row, columns, cells.one_hot))

    def _rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        ending = self.location.lower().rpartition(".")[2]
        return self._parquet_rows() if ending == "parquet" else self._json_rows() if ending == "jsonl" else self._text_rows()

    def _survey(self, names: list[str]) -> LabelCells:
        columns = find_columns(self.location, names, self.options)
        return survey(self.location, columns, names, (row for _, row in self._rows()))

    def _stored(self, written: str, listed: dict[str, dict[str, str] | None]) -> tuple[str, str]:
        """Return the first spelling of a path that exists, and its fingerprint."""
        path = written.removeprefix("./")
        for spelling in chain([path], _spellings(path)):
            fingerprint = self._fingerprint(spelling, listed)
            if fingerprint != MISSING:
                return spelling, fingerprint
        return path.strip(), MISSING

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if they cannot be read."""
        storage, path = self._image(unescape(source_ref))
        return storage.read(path)

    def _fingerprint(self, path: str, listed: dict[str, dict[str, str] | None]) -> str:
        """Return a file's fingerprint; list whole folders of a remote store, because one request per image would take hours."""
        storage, full_path = self._image(path)
        folder = storage.parent(full_path)
        if folder not in listed:
            if len(listed) >= _FOLDERS_REMEMBERED:
                listed.pop(next(iter(listed)))
            listed[folder] = storage.fingerprints(folder)
        known = listed[folder]
        return storage.fingerprint(full_path) if known is None else known.get(full_path, MISSING)

    def _image(self, path: str) -> tuple[Storage, str]:
        if "://" in path:
            _require_allowed(self.location, path, self.options)
            storage = Storage(path, self.options.storage_options)
            return storage, storage.root
        if path.startswith("/") and self.storage.protocol is None:
            return self.storage, path
        return self.storage, self.storage.join(self.storage.parent(self.storage.root), path)

    def _text_rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        with self.storage.open(self.storage.root) as file:
            header, rows = read_rows(file, self.location, SourceError)
            if titles := titles_of(header, self.options):
                header, rows = titles, chain([(1, header)], rows)
            path = find_columns(self.location, header, self.options).path
            for line, cells in rows:
                where = f"{self.location}:{line}"
                if len(cells) != len(header):
                    raise SourceError(
                        where, f"{counted(len(cells), 'cell')}, but the header has {len(header)}", "quote cells that contain the separator"
                    )
                row = dict(zip(header, cells, strict=True))
                require_text((cell for name, cell in row.items() if name != path), where, SourceError)
                yield where, {name: cell if name == path else cell.strip() for name, cell in row.items()}

    def _json_rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        with self.storage.open(self.storage.root) as file:
            names = dict.fromkeys(name for _, row in read_objects(file, self.location) for name in row)
        with self.storage.open(self.storage.root) as file:
            for line, row in read_objects(file, self.location):
                yield f"{self.location}:{line}", names | row
                names = {}  # the first row carries every name, as a header does; other rows may omit some

    def _parquet_rows(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        from audit.sources.storage.parquet import open_parquet, rows_of

        with self.storage.open(self.storage.root) as file:
            table = open_parquet(file, self.location)
            find_columns(self.location, table.schema_arrow.names, self.options)
            number = 0
            for batch in table.iter_batches(8192):
                for row in rows_of(batch, self.location):
                    yield f"{self.location} row {number}", row
                    number += 1


@dataclass(slots=True)
class _Paths:
    """Counts of what happened to the paths of a table."""

    rows: int = 0
    missing: int = 0
    backslashes: Tally = field(default_factory=Tally)
    pathless: Tally = field(default_factory=Tally)
    cells: LabelCells | None = None

    def note(self, written: str, path: str, fingerprint: str) -> None:
        self.rows += 1
        self.missing += fingerprint == MISSING
        if "\\" in written and path == _slashed(written):
            self.backslashes.add(sample_id(written))

    def problems(self, table: str) -> Iterator[Problem]:
        if self.cells is not None:
            yield from self.cells.problems()
        if self.rows and self.missing == self.rows:
            problem = f"{table}: none of the {self.rows:,} listed images exists; paths are relative to the table's folder"
            hint = "move the table to the folder its paths start from, or scan that folder and pass the table as --labels (labels_file)"
            yield Problem(kind="nothing_found", severity="error", problem=problem, hint=hint)
        if count := self.backslashes.count:
            problem = f"{counted(count, 'path')} of {table} with backslashes, read as slashes: {self.backslashes}"
            hint = "write slashes, which work on every system"
            yield Problem(kind="backslashes", severity="info", problem=problem, hint=hint, evidence={"entries": count})
        if count := self.pathless.count:
            problem = f"{counted(count, 'row')} without a path: {self.pathless}"
            yield Problem(kind="no_path", problem=problem, hint="add the path, or delete the row", evidence={"entries": count})


def _require_allowed(where: str, url: str, options: SourceOptions) -> None:
    """Refuse an image that a table lists by URL unless it is on a server and the user allows it. Raises SourceError."""
    protocol = url.partition("://")[0]
    if protocol not in LISTED_PROTOCOLS or "::" in url:
        hint = f"write a path, or a URL of {', '.join(sorted(LISTED_PROTOCOLS))}"
        raise SourceError(where, f"lists {url}, but {protocol}:// is not allowed in a table", hint)
    require_reachable(url, where=where)
    if not options.allow_remote:
        hint = "add --allow-remote (allow_remote = true), or copy the images to this machine"
        raise SourceError(where, f"lists an image on another machine, {url}", hint)


def _slashed(path: str) -> str:
    return path.strip().replace("\\", "/").removeprefix("./")


def _spellings(path: str) -> Iterator[str]:
    """Yield alternative spellings of a path: stripped, with slashes, with the raw bytes that `sample_id` escapes."""
    bare = path.strip()
    others = (bare, _slashed(path), _SHOWN_BYTE.sub(lambda shown: chr(0xDC00 + int(shown[1], 16)), bare))
    yield from dict.fromkeys(other for other in others if other != path)


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a table."""
    storage = Storage(location, options.storage_options)
    return location.lower().endswith(_ENDINGS) and storage.what_is(storage.root) == "file"


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a table. Raises SourceError."""
    storage = Storage(location, options.storage_options)
    require_file(storage, KIND)
    return ManifestSource(KIND, location, options, storage)

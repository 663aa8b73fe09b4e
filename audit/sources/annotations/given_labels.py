"""A label file given by the user: a table with a header, or lines of ``name label``."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from audit.errors import SourceError, nearest
from audit.io.spreadsheet import delimiter_of, read_rows, require_text, text_of
from audit.sources.annotations.columns import LABELS, PATHS, find_columns, read_labels, require_column
from audit.sources.annotations.label_files import Found, Labels
from audit.sources.annotations.layout import is_split
from audit.sources.base import SourceOptions
from audit.sources.storage.names import is_image, safe_relative

_NAMES = ("image_id", "imageid", "id", "name")
"""Usual names of the image column in addition to those of manifests, which list whole paths."""

_CORRECTIONS = "given_label"
"""A column that only lists of corrections have: images that are not listed keep their label."""


def read_given(path: str, data: bytes, options: SourceOptions) -> Labels:
    """Read a label file.

    Args:
        path: the file, for messages.
        data: its bytes.
        options: the name, label and split columns, if they do not have usual names.

    Raises:
        SourceError: the file is not text or lists no image, a line has no label, a column is missing, or a split is unknown.
    """
    if path.lower().endswith(_OTHERS):
        raise SourceError(path, "is not a label file, which is a CSV or lines of a name and a label", "save it as .csv")
    rows = _rows(path, data)
    first = next(rows, (0, []))
    header = [cell.strip() for cell in first[1]]
    if not header:
        raise SourceError(path, "lists no image", _HINT)
    header, at, has_header = _columns(path, header, options)
    rows = rows if has_header else chain([first], rows)
    labels: dict[str, Found] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        require_text(row, where, SourceError)
        if len(row) <= max(at.name, at.label or 0, at.group or 0):
            raise SourceError(where, f"has no label: {' '.join(row)[:80]!r}", _HINT)
        split = row[at.split].strip() or None if at.split is not None and at.split < len(row) else None
        if split is not None and not is_split(split):
            raise SourceError(where, f"unknown split {split!r}", nearest(split, {"train", "val", "test"}))
        name = row[at.name].strip().removeprefix("./")
        if safe_relative(name) is None:
            raise SourceError(where, f"the name {name!r} points outside the dataset", "write names relative to the dataset's folder")
        label, several = (None, None) if at.label is None else read_labels(row[at.label].strip(), header[at.label])
        found = Found(label, split, several, row[at.group].strip() or None if at.group is not None else None)
        if name in labels and labels[name] != found:
            raise SourceError(where, f"lists {name!r} again with another label", "keep one of the two lines")
        labels[name] = found
    if not labels:
        raise SourceError(path, "lists no image", _HINT)
    return Labels(path, labels, overrides=True, corrects=_CORRECTIONS in map(str.lower, header), has_labels=at.label is not None)


class _At(NamedTuple):
    """Positions of the columns."""

    name: int
    label: int | None
    split: int | None = None
    group: int | None = None


def _columns(path: str, first: list[str], options: SourceOptions) -> tuple[list[str], _At, bool]:
    """Return the header, the positions of its columns, and whether the first line is that header. Raises SourceError."""
    named = options.path_column or options.label_column or options.split_column or options.group_column
    if not named and not _is_header(first):
        return ["name", "label"], _At(0, 1), False
    needs = ("path", "label") if options.group_column is None else ("path",)
    columns = find_columns(path, first, options, needs=needs, paths=_NAMES)
    if options.group_column is not None:
        require_column(path, options.group_column, first)
    wanted = (columns.label, columns.split, options.group_column)
    return first, _At(first.index(columns.path or ""), *(None if name is None else first.index(name) for name in wanted)), True


_OTHERS = (".json", ".jsonl", ".parquet")
"""Formats that other programs, and our exports, write besides CSV."""

_HINT = "write the image's name and its label on every line"


def _rows(path: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of every line that is not empty, including the first."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _is_table(data.partition(b"\n")[0].decode("utf-8-sig", "replace")):
        header, rows = read_rows(io.BytesIO(data), path, SourceError)
        yield 1, header
        yield from rows
    else:
        for number, line in enumerate(text_of(data, path, SourceError).split("\n"), 1):
            if line.strip():
                yield number, line.rsplit(None, 1)


def _is_table(line: str) -> bool:
    """Return whether a first line has cells. Semicolons also separate words within labels, so the first cell must then be a name or a title."""
    delimiter = delimiter_of(line)
    cells = [cell.strip().strip('"') for cell in line.split(delimiter)] if delimiter else []
    return bool(cells) and (delimiter != ";" or is_image(cells[0]) or _is_header(cells))


def _is_header(cells: Sequence[str]) -> bool:
    return not is_image(cells[0]) and not {*PATHS, *_NAMES, *LABELS}.isdisjoint(map(str.lower, cells))

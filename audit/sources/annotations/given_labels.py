"""A label file given by the user: a table with a header, or lines of ``name label``."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from itertools import chain

from audit.errors import SourceError, nearest
from audit.io.spreadsheet import delimiter_of, read_rows, require_text, text_of
from audit.sources.annotations.columns import LABELS, PATHS, find_columns, read_labels
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
    named = options.path_column or options.label_column or options.split_column
    if named or _is_header(header):
        columns = find_columns(path, header, options, needs=("path", "label"), paths=_NAMES)
        name_at, label_at = header.index(columns.path or ""), header.index(columns.label or "")
        split_at = None if columns.split is None else header.index(columns.split)
    else:
        rows = chain([first], rows)
        header, name_at, label_at, split_at = ["name", "label"], 0, 1, None
    labels: dict[str, Found] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        require_text(row, where, SourceError)
        if len(row) <= max(name_at, label_at):
            raise SourceError(where, f"has no label: {' '.join(row)[:80]!r}", _HINT)
        split = row[split_at].strip() or None if split_at is not None and split_at < len(row) else None
        if split is not None and not is_split(split):
            raise SourceError(where, f"unknown split {split!r}", nearest(split, {"train", "val", "test"}))
        name = row[name_at].strip().removeprefix("./")
        if safe_relative(name) is None:
            raise SourceError(where, f"the name {name!r} points outside the dataset", "write names relative to the dataset's folder")
        label, several = read_labels(row[label_at].strip(), header[label_at])
        found = Found(label, split, several)
        if name in labels and labels[name] != found:
            raise SourceError(where, f"lists {name!r} again with another label", "keep one of the two lines")
        labels[name] = found
    if not labels:
        raise SourceError(path, "lists no image", _HINT)
    return Labels(path, labels, overrides=True, corrects=_CORRECTIONS in map(str.lower, header))


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

"""Label tables: those given by the user, and those that publishers store beside the images. With a header, or lines of ``name label``."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from audit.errors import SourceError, nearest
from audit.io.spreadsheet import delimiter_of, read_rows, require_text, text_of
from audit.sources.annotations.columns import LABELS, PATHS, assumed_splits, find_columns, read_split, refuse_nested, require_column, titles_of
from audit.sources.annotations.json_lines import read_objects
from audit.sources.annotations.label_cells import survey
from audit.sources.annotations.label_files import Found, Labels
from audit.sources.annotations.layout import is_split, split_in
from audit.sources.base import SourceOptions
from audit.sources.storage.names import is_image, safe_relative

_NAMES = ("image_id", "imageid", "id", "name", "image_name", "img", "image_file", "image_filename")
"""Usual names of the image column in addition to those of manifests, which list whole paths."""

_CORRECTIONS = "given_label"
"""A column that only lists of corrections have: images that are not listed keep their label."""


def read_given(path: str, data: bytes, options: SourceOptions, folder: str | None = None) -> Labels:
    """Read a label table.

    Args:
        path: the file, for messages.
        data: its bytes.
        options: the name, label and split columns, if they do not have usual names.
        folder: the table's folder in the dataset, from which its names may start; None if it is elsewhere.

    Raises:
        SourceError: the file is not text or lists no image, a line has no label, a column is missing, or a split is unknown.
    """
    if path.lower().endswith(_OTHERS):
        raise SourceError(path, "is not a label file, which is a CSV or lines of a name and a label", "save it as .csv")
    header, rows = _table(path, data, options)
    columns = find_columns(path, header, options, needs=("path",), paths=_NAMES)
    cells = survey(path, columns, header, (row for _, row in rows))
    if not cells.one_hot:
        needs = ("path", "label") if options.group_column is None else ("path",)
        columns = find_columns(path, header, options, needs=needs, paths=_NAMES)
    has_labels = bool(cells.one_hot) or columns.label is not None
    if options.group_column is not None and folder is None:
        require_column(path, options.group_column, header)
    labels: dict[str, Found] = {}
    for where, row in rows:
        written = row.get(columns.path or "")
        if columns.label is not None and columns.label not in row:
            raise SourceError(where, f"has no label: {' '.join(map(str, row.values()))[:80]!r}", _HINT)
        if not isinstance(written, str) or not written.strip():
            continue
        refuse_nested(where, row, columns)
        split = _split(where, row.get(columns.split or ""), columns.split)
        name = written.strip().removeprefix("./")
        if safe_relative(name) is None:
            raise SourceError(where, f"the name {name!r} points outside the dataset", "write names relative to the dataset's folder")
        label, several = cells.read(row) if has_labels else (None, None)
        found = Found(label, split, several, group=str(row.get(options.group_column or "") or "").strip() or None)
        if name in labels and labels[name] != found:
            raise SourceError(where, f"lists {name!r} again with another label", "keep one of the two lines")
        labels[name] = found
    if not labels:
        raise SourceError(path, "lists no image", _HINT)
    corrects = _CORRECTIONS in map(str.lower, header)
    problems = [*assumed_splits(path, columns, options), *cells.problems()]
    return Labels(path, labels, base=folder, overrides=True, corrects=corrects, has_labels=has_labels, problems=problems)


def _split(where: str, cell: object, column: str | None) -> str | None:
    split = read_split(cell, column)
    if split is not None and not is_split(split) and split_in(split) is None and not split.startswith("fold "):
        raise SourceError(where, f"unknown split {split!r}", nearest(split, {"train", "val", "test"}))
    return split


_OTHERS = (".json", ".parquet")
"""Formats that other programs, and our exports, write besides CSV."""

_HINT = "write the image's name and its label on every line"


def _table(path: str, data: bytes, options: SourceOptions) -> tuple[list[str], list[tuple[str, Mapping[str, object]]]]:
    """Return the column names, and position and cells of every row. Raises SourceError."""
    if path.lower().endswith(".jsonl"):
        objects = [(f"{path}:{line}", row) for line, row in read_objects(io.BytesIO(data), path)]
        names = dict.fromkeys(name for _, row in objects for name in row)
        return list(names), [(where, names | row) for where, row in objects]
    lines = _lines(path, data)
    first = next(lines, (0, []))
    header = [cell.strip() for cell in first[1]]
    if not header:
        raise SourceError(path, "lists no image", _HINT)
    named = options.path_column or options.label_column or options.split_column or options.group_column
    if not named and not _is_header(header):
        second = next(lines, None)
        rest = chain([second], lines) if second is not None else iter(())
        if second is not None and is_image(second[1][0].strip()) and not is_image(header[0]):
            # A header with unusual names: two columns can only be the name and the label.
            if len(header) > 2:
                problem = f"has no column with a usual name for labels; its columns are {', '.join(header)}"
                raise SourceError(path, problem, "set `path_column` and `label_column`")
            header, lines = ["name", "label"], rest
        else:
            more = [f"column {number}" for number in range(3, len(header) + 1)]
            header, lines = titles_of(header, options) or ["name", "label", *more], chain([first], rest)
    rows: list[tuple[str, Mapping[str, object]]] = []
    for line, cells in lines:
        require_text(cells, f"{path}:{line}", SourceError)
        rows.append((f"{path}:{line}", dict(zip(header, (cell.strip() for cell in cells), strict=False))))
    return header, rows


def _lines(path: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
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

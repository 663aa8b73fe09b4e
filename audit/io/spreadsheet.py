"""CSV files that are safe in spreadsheets: a cell is text, never a formula.

Excel, LibreOffice and Google Sheets execute a cell that begins like a formula, and file names are untrusted. A leading apostrophe makes the cell text
(OWASP, CSV Injection); `unguard` removes exactly that apostrophe, so tables survive a round trip.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from audit.errors import AuditError

_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Start of a formula, also after white space and in full-width forms; leading apostrophes match too, so that `unguard` is exact."""
_DELIMITERS = ",;\t"
_SAVE = "save it as CSV UTF-8"
_GUARDED = re.compile(r"'+\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guard(text: str) -> str:
    """Return a cell's text in a form that no spreadsheet executes.

    >>> guard("=1+1"), guard("cat"), unguard(guard("'=1"))
    ("'=1+1", 'cat', "'=1")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Undo `guard`."""
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV (RFC 4180, UTF-8). Text is guarded, numbers are not.

    Args:
        columns: the header and the keys of the rows.
        rows: the cells; None, NaN and NA become empty cells.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([guard(column) for column in columns])
    writer.writerows([[_cell(row.get(column)) for column in columns] for row in rows])
    return stream.getvalue()


def delimiter_of(line: str) -> str | None:
    """Return the delimiter of a table's first line: the most frequent of comma, semicolon and tab; None if there is none."""
    found = max(_DELIMITERS, key=line.count)
    return found if found in line else None


def read_rows(file: BinaryIO, where: object, error: type[AuditError] = AuditError) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a table row by row: UTF-8 or UTF-16, separated by commas, semicolons or tabs.

    Args:
        file: the table, at its first byte; closed after the last row.
        where: name of the table, for errors.
        error: class of the errors to raise.

    Returns:
        The header, and an iterator over line number and cells of each nonempty row. Cells are unguarded. Bytes that are not UTF-8 are kept as lone
        surrogates, because file names may contain them; `require_text` refuses them.

    Raises:
        AuditError: the table is empty, not text, or not CSV.
    """
    rows = _numbered_rows(file, where, error)
    _, header = next(rows, (0, []))
    if not header:
        raise error(where, "is empty", "add a first line with the column names")
    require_text(header, f"{where}:1", error)
    return [cell.strip() for cell in header], rows


def _numbered_rows(file: BinaryIO, where: object, error: type[AuditError]) -> Iterator[tuple[int, list[str]]]:
    wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    try:
        with io.TextIOWrapper(file, encoding, errors, newline="") as text:
            first = text.readline()
            if "\0" in first:
                raise error(f"{where}:1", "is not text: it contains NUL bytes", _SAVE)
            reader = csv.reader(chain([first], text), delimiter=delimiter_of(first) or ",")
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, [unguard(cell) for cell in cells]
            except csv.Error as problem:
                raise error(f"{where}:{reader.line_num}", f"is not valid CSV: {problem}", _SAVE) from None
    except UnicodeDecodeError:
        raise error(where, "has a UTF-16 byte order mark but is not valid UTF-16", _SAVE) from None


def text_of(data: bytes, where: object, error: type[AuditError] = AuditError) -> str:
    """Decode a file as UTF-8. Raises AuditError with the line that is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"{where}:{line}", "is not UTF-8", "save it as UTF-8") from None


def require_text(cells: Iterable[str], where: str, error: type[AuditError] = AuditError) -> None:
    """Refuse cells with bytes that are not UTF-8. Raises AuditError."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise error(where, "is not UTF-8", _SAVE) from None


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by lower-case column name of each row. Raises AuditError as `read_rows` does, or for a missing file or long row."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise AuditError(path, "no such file", "check the spelling") from None
    with file:
        header, rows = read_rows(file, path)
        for line, cells in rows:
            if len(cells) > len(header):
                raise AuditError(f"{path}:{line}", f"has {len(cells)} cells, but the header has {len(header)}", "quote cells that contain a comma")
            require_text(cells, f"{path}:{line}")
            yield line, dict(zip([name.lower() for name in header], cells, strict=False))


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        # A lone surrogate cannot be encoded.
        return guard(value.encode("utf-8", "backslashreplace").decode("utf-8"))
    if value is None or value != value or not isinstance(value, int | float):  # noqa: PLR0124 - NaN
        return "" if value is None or value != value else guard(str(value))  # noqa: PLR0124 - NaN
    return value

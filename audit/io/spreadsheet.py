"""Tables that people open in a spreadsheet: a cell is text, never a formula.

A cell that begins like a formula is run by Excel, LibreOffice and Google Sheets, and file names are other people's text. An apostrophe before it
makes it text (OWASP, CSV Injection); `unguard` takes exactly that apostrophe away again, so a table that is written and read back is the same.
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
"""How a formula begins: also after white space and in full-width forms; apostrophes before it count so that guards undo."""
_DELIMITERS = ",;\t"
_SAVE = "save it as CSV UTF-8"
_GUARDED = re.compile(r"'+\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guard(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it for a formula.

    >>> guard("=1+1"), guard("cat"), unguard(guard("'=1"))
    ("'=1+1", 'cat', "'=1")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Return what `guard` was given."""
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV (RFC 4180, UTF-8). Text is guarded, numbers are not; what is missing is an empty cell.

    Args:
        columns: the header and the keys of the rows.
        rows: cells that are None, NaN or NA are empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([guard(column) for column in columns])
    writer.writerows([[_cell(row.get(column)) for column in columns] for row in rows])
    return stream.getvalue()


def delimiter_of(line: str) -> str | None:
    """Return what parts the cells of a table's first line: comma, semicolon or tab, whichever there is most of; None where there is none."""
    found = max(_DELIMITERS, key=line.count)
    return found if found in line else None


def read_rows(file: BinaryIO, place: object, error: type[AuditError] = AuditError) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a table as programs and spreadsheets write it: UTF-8 or UTF-16, with commas, semicolons or tabs, a row at a time.

    Args:
        file: the table, at its first byte; it is closed behind the last row.
        place: the table, for messages.
        error: what to raise.

    Returns:
        The header, and an iterator of line number and cells of each row that is not empty. Cells are unguarded. Bytes that are no UTF-8 are kept as
        lone surrogates, since names of files may hold any; `require_text` refuses them.

    Raises:
        AuditError: it is empty, no text, or no CSV.
    """
    rows = _numbered_rows(file, place, error)
    _, header = next(rows, (0, []))
    if not header:
        raise error(place, "is empty", "its first line names the columns")
    require_text(header, f"{place}:1", error)
    return [cell.strip() for cell in header], rows


def _numbered_rows(file: BinaryIO, place: object, error: type[AuditError]) -> Iterator[tuple[int, list[str]]]:
    wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    try:
        with io.TextIOWrapper(file, encoding, errors, newline="") as text:
            first = text.readline()
            if "\0" in first:
                raise error(f"{place}:1", "is no text: it holds zero bytes", _SAVE)
            reader = csv.reader(chain([first], text), delimiter=delimiter_of(first) or ",")
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, [unguard(cell) for cell in cells]
            except csv.Error as problem:
                raise error(f"{place}:{reader.line_num}", f"is no CSV: {problem}", _SAVE) from None
    except UnicodeDecodeError:
        raise error(place, "begins as UTF-16 but does not go on so", _SAVE) from None


def text_of(data: bytes, place: object, error: type[AuditError] = AuditError) -> str:
    """Return a file's bytes as text. Raises AuditError with the line that is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"{place}:{line}", "is not UTF-8", "save it as UTF-8") from None


def require_text(cells: Iterable[str], place: str, error: type[AuditError] = AuditError) -> None:
    """Refuse cells that hold bytes which are no UTF-8. Raises AuditError."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise error(place, "is not UTF-8", _SAVE) from None


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row, by the header in lower case; see `read_rows`.

    Raises:
        AuditError: it is not there, no text, has no header, or a row has more cells than the header.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise AuditError(path, "no such file", "check the spelling") from None
    with file:
        header, rows = read_rows(file, path)
        for line, cells in rows:
            if len(cells) > len(header):
                raise AuditError(f"{path}:{line}", f"has {len(cells)} cells, the header {len(header)}", "quote cells that hold a comma")
            require_text(cells, f"{path}:{line}")
            yield line, dict(zip([name.lower() for name in header], cells, strict=False))


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        # Half a surrogate pair cannot be written in any encoding.
        return guard(value.encode("utf-8", "backslashreplace").decode("utf-8"))
    if value is None or value != value or not isinstance(value, int | float):  # noqa: PLR0124 - NaN
        return "" if value is None or value != value else guard(str(value))  # noqa: PLR0124 - NaN
    return value

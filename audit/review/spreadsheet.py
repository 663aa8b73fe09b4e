"""Tables that people open in a spreadsheet: a cell is text, never a formula.

A cell that begins like a formula is run by Excel, LibreOffice and Google Sheets, and file names are other people's text. An apostrophe before it
makes it text (OWASP, CSV Injection); `unguard` takes exactly that apostrophe away again, so a table that is written and read back is the same.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.errors import AuditError

_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a formula begins: also after white space and in full-width forms; apostrophes before it count so that guards undo."""
_GUARDED = re.compile(r"'+\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guard(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it for a formula.

    >>> guard("=1+1"), guard("cat"), unguard(guard("'=1"))
    ("'=1+1", 'cat', "'=1")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Return what `guard` was given."""
    return text[1:] if _GUARDED.match(text) else text


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


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row, by the header; comma, semicolon and tab are understood, as is a byte order mark.

    Raises:
        AuditError: it is not there, not UTF-8, has no header, or a row has more cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="strict")
    except FileNotFoundError:
        raise AuditError(path, "there is no such file", "check the spelling") from None
    except UnicodeDecodeError as error:
        raise AuditError(path, f"is not UTF-8 (byte {error.start})", "save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [unguard(cell).strip().lower() for cell in next(reader, [])]
        if not any(header):
            raise AuditError(path, "is empty", "its first line names the columns")
        for cells in reader:
            if len(cells) > len(header):
                raise AuditError(f"{path}:{reader.line_num}", f"has {len(cells)} cells, the header {len(header)}", "quote cells that hold a comma")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, map(unguard, cells), strict=False))
    except csv.Error as error:
        raise AuditError(f"{path}:{reader.line_num}", f"is no CSV: {error}", "save it as CSV UTF-8") from None


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        # Half a surrogate pair cannot be written in any encoding.
        return guard(value.encode("utf-8", "backslashreplace").decode("utf-8"))
    if value is None or value != value or not isinstance(value, int | float):  # noqa: PLR0124 - NaN
        return "" if value is None or value != value else guard(str(value))  # noqa: PLR0124 - NaN
    return value

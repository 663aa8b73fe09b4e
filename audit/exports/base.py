"""The interface of an export, and functions to write tables, JSON and text; the ending of a table's file selects its format."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError
from audit.io.artifacts import replacing, write_table
from audit.io.spreadsheet import csv_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import pandas as pd

ENDINGS = (".csv", ".jsonl", ".parquet")
"""CSV prefixes cells that look like a formula with an apostrophe; JSON lines and Parquet keep values exactly."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export."""

    name: str
    title: str
    """Display name."""
    summary: str
    """First line of the module's docstring."""
    endings: tuple[str, ...]
    """Endings of its files, the default first; ``("",)`` if it writes a folder."""
    write: Callable[..., dict[str, Any]]
    """``(run, actions, out)`` -> name -> number of images, tasks etc. written, as JSON values."""

    @property
    def writes_folder(self) -> bool:
        """Whether it writes a folder instead of a file."""
        return "" in self.endings


def read_export(name: str, origin: str, module: ModuleType) -> Export:
    """Return the export that a module defines. Raises AuditError if the module is not a valid export."""
    write, endings = getattr(module, "write", None), tuple(getattr(module, "ENDINGS", ()))
    summary = inspect.cleandoc(module.__doc__ or "").partition("\n")[0]
    if not callable(write) or not endings or not summary:
        raise AuditError(origin, "an export needs a docstring, ENDINGS and a function write(run, actions, out)", "see audit/exports/__init__.py")
    return Export(name, getattr(module, "TITLE", name.replace("-", " ").capitalize()), summary, endings, write)


def write_frame(frame: pd.DataFrame, out: Path) -> None:
    """Write a table as CSV, JSON lines or Parquet, atomically."""
    if out.suffix.lower() == ".parquet":
        import pyarrow as pa

        write_table(out, pa.Table.from_pandas(frame, preserve_index=False))
        return
    rows: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in frame.astype(object).to_dict("records")]
    if out.suffix.lower() == ".csv":
        write_text(out, csv_text([str(name) for name in frame.columns], rows))
    else:
        write_text(out, "".join(f"{json.dumps(without_missing(row))}\n" for row in rows))


def write_json_file(content: object, out: Path) -> None:
    """Write JSON in ASCII, so that all tools read all names correctly."""
    write_text(out, json.dumps(content, indent=1) + "\n")


def write_text(out: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(out) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with None for NaN, which JSON lacks."""
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}  # noqa: PLR0124 - NaN

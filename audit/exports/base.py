"""The shape of an export, and tables in the format that a file's ending names."""

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
"""CSV guards cells that begin like a formula with an apostrophe; names stay exact in JSON lines and Parquet."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export."""

    name: str
    title: str
    """Its name in words."""
    summary: str
    """One sentence: the first line of the module's docstring."""
    endings: tuple[str, ...]
    """Endings of the files that it writes, the usual one first; an empty one where it writes a folder."""
    write: Callable[..., dict[str, Any]]
    """``(run, actions, out)`` -> what was written, as JSON values by name."""

    @property
    def writes_folder(self) -> bool:
        """Whether it writes a folder, not one file."""
        return "" in self.endings


def read_export(name: str, origin: str, module: ModuleType) -> Export:
    """Read a module as an export. Raises AuditError where it does not have the shape of one."""
    write, endings = getattr(module, "write", None), tuple(getattr(module, "ENDINGS", ()))
    summary = inspect.cleandoc(module.__doc__ or "").partition("\n")[0]
    if not callable(write) or not endings or not summary:
        raise AuditError(origin, "an export needs a docstring, ENDINGS and a function write(run, actions, out)", "see audit/exports/__init__.py")
    return Export(name, getattr(module, "TITLE", name.replace("-", " ").capitalize()), summary, endings, write)


def write_frame(frame: pd.DataFrame, out: Path) -> None:
    """Write a table as CSV, JSON lines or Parquet, whole or not at all."""
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
    """Write JSON in ASCII, so that any name survives any tool."""
    write_text(out, json.dumps(content, indent=1) + "\n")


def write_text(out: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(out) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with None for NaN, which JSON does not know."""
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}  # noqa: PLR0124 - NaN

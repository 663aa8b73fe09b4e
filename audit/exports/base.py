"""Write tables, JSON and text; the ending of a table's file selects its format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from audit.io.artifacts import replacing, write_table
from audit.io.spreadsheet import csv_text

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

ENDINGS = (".csv", ".jsonl", ".parquet")
"""CSV prefixes cells that look like a formula with an apostrophe; JSON lines and Parquet keep values exactly."""


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

"""Reading of a run's tables: each is validated against `audit.tables`, and one with other columns or values is reported as corrupt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import RunError
from audit.io.artifacts import column_names, open_array, read_table
from audit.tables import FACES, LABEL_QUALITY, OUTCOMES, PAIRS, SAMPLES, SEVERITIES

_VALUES = {"outcome": OUTCOMES, "severity": SEVERITIES}
"""Columns with a fixed set of values."""

_LAYOUTS = {
    "embeddings": ("f", 2),
    "thumbnails": ("u", 4),
    "features": ("u", 3),
    "neighbors": ("i", 2),
    "similarities": ("f", 2),
    "predictions": ("f", 2),
}
"""Array -> NumPy's kind of its dtype, and its number of dimensions."""


def open_rows(run: Path, name: str, rows: int) -> npt.NDArray[Any]:
    """Map one of the run's arrays, ``NAME.npy``, read-only. Raises RunError if it is corrupt, has another dtype or not ``rows`` rows."""
    kind, dimensions = _LAYOUTS[name]
    return open_array(run / f"{name}.npy", rows, kind=kind, dimensions=dimensions)


def conforming(schema: pa.Schema, table: pa.Table, path: Path, *, rows: int | None = None) -> pa.Table:
    """Return a table with the columns and types of a schema; columns that older versions did not write are null.

    Args:
        schema: a schema of ``audit.tables``, or some of its fields.
        table: the table as read.
        path: its file.
        rows: the number of rows of a whole table.

    Raises:
        RunError: the table lacks a required column, or has other types, values or rows.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            if not field.nullable:
                raise corrupt(path, f"column {field.name} is missing")
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        try:
            column = column.cast(field.type)
        except pa.ArrowException:
            raise corrupt(path, f"column {field.name} has type {column.type}, not {field.type}") from None
        if not field.nullable and column.null_count:
            raise corrupt(path, f"column {field.name} has nulls")
        if field.name in _VALUES and not pc.all(pc.is_in(column, pa.array(_VALUES[field.name]))).as_py() and len(column):
            unknown = next(value for value in pc.unique(column).to_pylist() if value not in _VALUES[field.name])
            raise corrupt(path, f"column {field.name} has the value {unknown!r}, not one of {', '.join(_VALUES[field.name])}")
        columns.append(column)
    if rows is not None and len(table) != rows:
        raise corrupt(path, f"has {len(table)} rows, but the run has {rows} samples")
    return pa.table(columns, schema=schema)


def read_samples(run: Path, rows: int, names: Sequence[str] = SAMPLES.names) -> pa.Table:
    """Read columns of ``samples.parquet``. Raises RunError if it is corrupt or does not have ``rows`` rows."""
    path = run / "samples.parquet"
    stored = {*column_names(path)}
    return conforming(fields(SAMPLES, names), read_table(path, [name for name in names if name in stored]), path, rows=rows)


def read_pairs(run: Path, rows: int) -> pa.Table:
    """Read ``pairs.parquet``. Raises RunError if it is corrupt or refers to a row that a run of ``rows`` rows lacks."""
    table = conforming(PAIRS, read_table(run / "pairs.parquet"), run / "pairs.parquet")
    return _referring(table, {"i": 0, "j": 0, "group": -1}, rows, run / "pairs.parquet")


def read_faces(run: Path, rows: int) -> pa.Table:
    """Read ``faces.parquet``. Raises RunError if it is corrupt or refers to a row that a run of ``rows`` rows lacks."""
    return _referring(conforming(FACES, read_table(run / "faces.parquet"), run / "faces.parquet"), {"row": 0}, rows, run / "faces.parquet")


def read_label_quality(run: Path, rows: int) -> pa.Table:
    """Read ``label_quality.parquet``. Raises RunError if it is corrupt or does not have ``rows`` rows."""
    return conforming(LABEL_QUALITY, read_table(run / "label_quality.parquet"), run / "label_quality.parquet", rows=rows)


def fields(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return some fields of a schema."""
    return pa.schema([schema.field(name) for name in names])


def require_evidence(table: pa.Table, path: Path) -> None:
    """Raise RunError if a finding's evidence is not a JSON object."""
    for text in table["evidence"].to_pylist():
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise corrupt(path, f"evidence {text[:60]!r} is not a JSON object")


def _referring(table: pa.Table, lowest: Mapping[str, int], rows: int, path: Path) -> pa.Table:
    for name, least in lowest.items():
        found = pc.min_max(table[name]).as_py()
        if len(table) and (found["min"] < least or found["max"] >= rows):
            raise corrupt(path, f"column {name} refers to rows that do not exist ({found['min']} to {found['max']} of {rows})")
    return table


def corrupt(path: Path, what: str) -> RunError:
    """Return the error for a file of a run."""
    return RunError(path, f"corrupt: {what}", "delete this file and scan again: only its stage is recomputed")

"""A run's tables as they are read back: held to what `audit.tables` says of them, so that a file of other columns or values is named as damaged."""

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
"""Columns that hold one of a few words."""

_LAYOUTS = {"embeddings": ("f", 2), "thumbnails": ("u", 4), "neighbors": ("i", 2), "similarities": ("f", 2), "predictions": ("f", 2)}
"""Array -> the kind of its values, as NumPy writes it, and its dimensions."""


def open_rows(run: Path, name: str, rows: int) -> npt.NDArray[Any]:
    """Map one of the run's arrays, ``NAME.npy``, read-only. Raises RunError where it is damaged, of another kind or does not have ``rows`` rows."""
    kind, dimensions = _LAYOUTS[name]
    return open_array(run / f"{name}.npy", rows, kind=kind, dimensions=dimensions)


def held_to(schema: pa.Schema, table: pa.Table, path: Path, *, rows: int | None = None) -> pa.Table:
    """Return a table that was read with the columns and types of a schema; columns that older versions did not write are null.

    Args:
        schema: of ``audit.tables``, or some fields of one.
        table: as read.
        path: where it was read from.
        rows: how many rows it has where it is whole.

    Raises:
        RunError: it lacks a column that every version wrote, or holds other values.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            if not field.nullable:
                raise _damaged(path, f"it has no column {field.name}")
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        try:
            column = column.cast(field.type)
        except pa.ArrowException:
            raise _damaged(path, f"its column {field.name} holds {column.type}, not {field.type}") from None
        if not field.nullable and column.null_count:
            raise _damaged(path, f"its column {field.name} has gaps")
        if field.name in _VALUES and not pc.all(pc.is_in(column, pa.array(_VALUES[field.name]))).as_py() and len(column):
            unknown = next(value for value in pc.unique(column).to_pylist() if value not in _VALUES[field.name])
            raise _damaged(path, f"its column {field.name} holds {unknown!r}, which is none of {', '.join(_VALUES[field.name])}")
        columns.append(column)
    if rows is not None and len(table) != rows:
        raise _damaged(path, f"it has {len(table)} rows, but the run has {rows} samples")
    return pa.table(columns, schema=schema)


def read_samples(run: Path, rows: int, names: Sequence[str] = SAMPLES.names) -> pa.Table:
    """Read columns of ``samples.parquet``. Raises RunError where it is damaged or does not have ``rows`` rows."""
    path = run / "samples.parquet"
    there = {*column_names(path)}
    return held_to(fields(SAMPLES, names), read_table(path, [name for name in names if name in there]), path, rows=rows)


def read_pairs(run: Path, rows: int) -> pa.Table:
    """Read ``pairs.parquet``. Raises RunError where it is damaged or names a row that the run of so many has not."""
    table = held_to(PAIRS, read_table(run / "pairs.parquet"), run / "pairs.parquet")
    return _naming_rows(table, {"i": 0, "j": 0, "group": -1}, rows, run / "pairs.parquet")


def read_faces(run: Path, rows: int) -> pa.Table:
    """Read ``faces.parquet``. Raises RunError where it is damaged or names a row that the run of so many has not."""
    return _naming_rows(held_to(FACES, read_table(run / "faces.parquet"), run / "faces.parquet"), {"row": 0}, rows, run / "faces.parquet")


def read_label_quality(run: Path, rows: int) -> pa.Table:
    """Read ``label_quality.parquet``. Raises RunError where it is damaged or does not have ``rows`` rows."""
    return held_to(LABEL_QUALITY, read_table(run / "label_quality.parquet"), run / "label_quality.parquet", rows=rows)


def fields(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return some fields of a schema."""
    return pa.schema([schema.field(name) for name in names])


def require_evidence(table: pa.Table, path: Path) -> None:
    """Raise RunError where a finding's evidence is no JSON object."""
    for text in table["evidence"].to_pylist():
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _damaged(path, f"the evidence {text[:60]!r} is no JSON object")


def _naming_rows(table: pa.Table, lowest: Mapping[str, int], rows: int, path: Path) -> pa.Table:
    for name, least in lowest.items():
        found = pc.min_max(table[name]).as_py()
        if len(table) and (found["min"] < least or found["max"] >= rows):
            raise _damaged(path, f"its column {name} names rows from {found['min']} to {found['max']} of {rows}")
    return table


def _damaged(path: Path, what: str) -> RunError:
    return RunError(path, f"damaged: {what}", "delete this file and scan again: only its stage is done again")

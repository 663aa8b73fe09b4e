"""Findings page by page: an index of all rows in order; messages and evidence are read only for the rows shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from audit.errors import AuditError, nearest
from audit.io.artifacts import read_rows, read_table, to_frame
from audit.run.ranking import ranked
from audit.run.tables import conforming, fields, require_evidence
from audit.tables import FINDINGS

if TYPE_CHECKING:
    import pandas as pd

SHORT = tuple(name for name in FINDINGS.names if name not in ("message", "evidence"))
"""The columns of an index that are read from the files."""

FILTERS = (*SHORT, "issue_id")
"""The columns by which findings are filtered."""

ROWS_TOGETHER = 4096
"""Rows per Parquet row group of findings: messages and evidence are long, and a page shows a dozen."""

Where = Mapping[str, str | Collection[str]]
"""Column -> the wanted value or values."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the selected findings."""

    rows: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``, worst first."""
    total: int
    """Selected findings on all pages."""
    offset: int
    """Selected findings before this page."""


def read_index(files: Sequence[Path]) -> pd.DataFrame:
    """Return all findings without messages and evidence, worst first.

    Args:
        files: Parquet files of ``audit.tables.FINDINGS``.

    Returns:
        Columns `SHORT`, ``file`` (position in ``files``) and ``row`` (row in that file).
    """
    schema = fields(FINDINGS, SHORT).append(pa.field("file", pa.int32())).append(pa.field("row", pa.int32()))
    parts = [schema.empty_table()]
    for number, path in enumerate(files):
        part = conforming(fields(FINDINGS, SHORT), read_table(path, list(SHORT)), path)
        numbers, rows = np.full(len(part), number, np.int32), np.arange(len(part), dtype=np.int32)
        parts.append(pa.table([*part.columns, pa.array(numbers), pa.array(rows)], schema=schema))
    return ranked(to_frame(pa.concat_tables(parts))).reset_index(drop=True)


def select(index: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Return the findings whose columns have the wanted values. Raises AuditError if the index has no such column."""
    for column, wanted in where.items():
        if column not in FILTERS:
            raise AuditError(column, "unknown column of findings", nearest(column, FILTERS))
        index = index[index[column] == wanted] if isinstance(wanted, str) else index[index[column].isin(list(wanted))]
    return index


def read_page(files: Sequence[Path], chosen: pd.DataFrame, *, offset: int = 0, limit: int | None = None) -> Page:
    """Return one page of findings with all columns.

    Args:
        files: the same as for `read_index`.
        chosen: rows of an index, in the wanted order.
        offset: number of findings to skip.
        limit: maximum number to read; None reads all.
    """
    import pandas as pd

    shown = chosen.iloc[offset : None if limit is None else offset + limit]
    parts = [to_frame(FINDINGS.empty_table())]
    order = []
    for number, group in shown.groupby("file", sort=True):
        path = files[int(str(number))]
        found = conforming(FINDINGS, read_rows(path, group["row"].to_numpy(np.int64)), path)
        require_evidence(found, path)
        parts.append(to_frame(found))
        order += group.index.tolist()
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows.index = pd.Index(order, dtype=np.int64)
    return Page(rows.loc[shown.index].reset_index(drop=True), len(chosen), offset)

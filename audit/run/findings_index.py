"""Findings by the page: which there are and in what order is known at once, sentences and evidence are read for the rows that are shown."""

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
from audit.run.tables import fields, held_to, require_evidence
from audit.tables import FINDINGS

if TYPE_CHECKING:
    import pandas as pd

SHORT = tuple(name for name in FINDINGS.names if name not in ("message", "evidence"))
"""The columns of an index: what findings are filtered and ordered by."""

ROWS_TOGETHER = 4096
"""Rows of a row group of findings: sentences and evidence are long, and a page shows a dozen."""

Where = Mapping[str, str | Collection[str]]
"""Column -> the value, or the values, that are wanted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the findings that were asked for."""

    rows: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``, the worst first."""
    total: int
    """Findings that were asked for, on all pages."""
    offset: int
    """How many of them come before this page."""


def read_index(files: Sequence[Path]) -> pd.DataFrame:
    """Return all findings without their sentences and evidence, the worst first.

    Args:
        files: Parquet files of ``audit.tables.FINDINGS``.

    Returns:
        Columns `SHORT`, and ``file`` and ``place``: where the rest of the finding stands.
    """
    parts = []
    for number, path in enumerate(files):
        part = held_to(fields(FINDINGS, SHORT), read_table(path, list(SHORT)), path)
        places = np.arange(len(part), dtype=np.int32)
        parts.append(part.append_column("file", pa.array(np.full(len(part), number, np.int32))).append_column("place", pa.array(places)))
    empty = FINDINGS.empty_table().select(list(SHORT))
    table = (
        pa.concat_tables(parts) if parts else empty.append_column("file", pa.array([], pa.int32())).append_column("place", pa.array([], pa.int32()))
    )
    return ranked(to_frame(table)).reset_index(drop=True)


def select(index: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Return the findings whose columns have the wanted values.

    Raises:
        AuditError: there is no such column.
    """
    for column, wanted in where.items():
        if column not in SHORT:
            raise AuditError(column, "findings have no such column", nearest(column, SHORT))
        index = index[index[column] == wanted] if isinstance(wanted, str) else index[index[column].isin(list(wanted))]
    return index


def read_page(files: Sequence[Path], chosen: pd.DataFrame, *, offset: int = 0, limit: int | None = None) -> Page:
    """Return the findings of one page, whole.

    Args:
        files: as given to `read_index`.
        chosen: rows of an index, in the order wanted.
        offset: how many to pass over.
        limit: how many to read at most; all where None.
    """
    import pandas as pd

    shown = chosen.iloc[offset : None if limit is None else offset + limit]
    parts = [to_frame(FINDINGS.empty_table())]
    order = []
    for number, group in shown.groupby("file", sort=True):
        places = group["place"].to_numpy(np.int64)
        path = files[int(str(number))]
        found = held_to(FINDINGS, read_rows(path, places), path)
        require_evidence(found, path)
        parts.append(to_frame(found))
        order += group.index.tolist()
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows.index = pd.Index(order, dtype=np.int64)
    return Page(rows.loc[shown.index].reset_index(drop=True), len(chosen), offset)

"""Earlier runs of the same dataset: how healthy it was."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from audit.artifacts import read_json, read_table
from audit.errors import AuditError
from audit.run import RECORD, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 10
"""Earlier runs that are read."""
_LOOKED_AT = 200
"""Folders beside a run that are looked into."""


def siblings(run: Run) -> Iterator[Path]:
    """Yield finished runs of the same dataset that lie beside a run and were made before it, the latest first."""
    source = _source(run.record)
    found = []
    for number, folder in enumerate(sorted(run.path.absolute().parent.iterdir())):
        record = folder / RECORD
        if number >= _LOOKED_AT:
            break
        with suppress(AuditError, OSError, ValueError, KeyError):
            if folder != run.path.absolute() and record.is_file() and record.stat().st_mtime_ns < (run.path / RECORD).stat().st_mtime_ns:
                found.append((record.stat().st_mtime_ns, folder, read_json(record)))
    for _, folder, read in sorted(found, key=lambda entry: -entry[0]):
        if read.get("finished") and _source(read) == source and source:
            yield folder


@st.cache_data(max_entries=4, show_spinner=False)
def earlier_health(path: str, changed: int, _run: Run) -> list[dict[str, float]]:
    """Return check -> share of images without an error or a warning, for each earlier run, the oldest first."""
    del path, changed
    found = []
    for folder in list(siblings(_run))[:MOST]:
        with suppress(AuditError, OSError):
            found.append(_health(Run(folder)))
    return found[::-1]


def _health(run: Run) -> dict[str, float]:
    health = {}
    for name, check in run.record["checks"].items():
        if check["state"] == "done":
            findings = read_table(run.path / "findings" / f"{name}.parquet", ["sample_id", "severity"]).to_pandas()
            flagged = findings.loc[findings["severity"] != "info", "sample_id"].nunique()
            health[name] = 1 - flagged / max(len(run), 1)
    return health


def _source(record: dict[str, object]) -> object:
    source = record.get("source")
    return source.get("absolute") or source.get("location") if isinstance(source, dict) else None

"""Other runs in the same folder: runs to compare with, and the health of earlier scans of the same dataset."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.errors import AuditError
from audit.io.artifacts import read_json, read_table
from audit.run.run import RECORD, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_EARLIER_RUNS = 10
"""Limit of the earlier runs in a trend."""
_MAX_FOLDERS = 200
"""Limit of the folders that are searched for runs."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A finished run in the same folder as another."""

    path: Path
    record: Mapping[str, Any]
    same_dataset: bool
    earlier: bool


def siblings(run: Run) -> list[Sibling]:
    """Return the finished runs in the folder of a run, latest first; earlier runs of the same dataset come before all others."""
    own = (run.tables / RECORD).stat().st_mtime_ns
    found = []
    for folder in sorted(run.path.absolute().parent.iterdir())[:_MAX_FOLDERS]:
        record = folder / RECORD
        with suppress(AuditError, OSError, ValueError, KeyError):
            if folder != run.path.absolute() and record.is_file() and (read := read_json(record)).get("finished"):
                time = record.stat().st_mtime_ns
                same = bool(_source(read)) and _source(read) == _source(run.record)
                found.append((time, Sibling(folder, read, same, time < own)))
    return [sibling for _, sibling in sorted(found, key=lambda entry: (not (entry[1].same_dataset and entry[1].earlier), -entry[0]))]


@st.cache_data(max_entries=4, show_spinner=False)
def earlier_health(path: str, changed: int, _run: Run) -> list[dict[str, float]]:
    """Return check -> share of images without an error or warning, for each earlier run of the same dataset, oldest first."""
    del path, changed
    found = []
    for sibling in [sibling for sibling in siblings(_run) if sibling.same_dataset and sibling.earlier][:MAX_EARLIER_RUNS]:
        with suppress(AuditError, OSError):
            found.append(_health(Run(sibling.path)))
    return found[::-1]


def _health(run: Run) -> dict[str, float]:
    health = {}
    for name, check in run.record["checks"].items():
        if check["state"] == "done":
            findings = read_table(run.tables / "findings" / f"{name}.parquet", ["sample_id", "severity"]).to_pandas()
            about = findings.loc[findings["severity"] != "info", "sample_id"]
            if about.notna().any() or about.empty:  # findings about classes or the dataset have no share of images
                health[name] = 1 - about.nunique() / max(len(run), 1)
    return health


def _source(record: Mapping[str, Any]) -> object:
    source = record.get("source")
    return source.get("absolute") or source.get("location") if isinstance(source, dict) else None

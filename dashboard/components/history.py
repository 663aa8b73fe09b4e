"""Other runs that lie beside a run: what it can be compared with, and how healthy the same dataset was before."""

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

MOST = 10
"""Earlier runs whose health is read."""
_LOOKED_AT = 200
"""Folders beside a run that are looked into."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A finished run beside another."""

    path: Path
    record: Mapping[str, Any]
    same_dataset: bool
    earlier: bool


def siblings(run: Run) -> list[Sibling]:
    """Return the finished runs that lie beside a run: those of the same dataset that were made before it first, the latest of them first."""
    own = (run.path / RECORD).stat().st_mtime_ns
    found = []
    for folder in sorted(run.path.absolute().parent.iterdir())[:_LOOKED_AT]:
        record = folder / RECORD
        with suppress(AuditError, OSError, ValueError, KeyError):
            if folder != run.path.absolute() and record.is_file() and (read := read_json(record)).get("finished"):
                time = record.stat().st_mtime_ns
                same = bool(_source(read)) and _source(read) == _source(run.record)
                found.append((time, Sibling(folder, read, same, time < own)))
    return [sibling for _, sibling in sorted(found, key=lambda entry: (not (entry[1].same_dataset and entry[1].earlier), -entry[0]))]


@st.cache_data(max_entries=4, show_spinner=False)
def earlier_health(path: str, changed: int, _run: Run) -> list[dict[str, float]]:
    """Return check -> share of images without an error or a warning, for each earlier run of the same dataset, the oldest first."""
    del path, changed
    found = []
    for sibling in [sibling for sibling in siblings(_run) if sibling.same_dataset and sibling.earlier][:MOST]:
        with suppress(AuditError, OSError):
            found.append(_health(Run(sibling.path)))
    return found[::-1]


def _health(run: Run) -> dict[str, float]:
    health = {}
    for name, check in run.record["checks"].items():
        if check["state"] == "done":
            findings = read_table(run.path / "findings" / f"{name}.parquet", ["sample_id", "severity"]).to_pandas()
            about = findings.loc[findings["severity"] != "info", "sample_id"]
            if about.notna().any() or about.empty:  # else they are about classes or the dataset, and no share of the images
                health[name] = 1 - about.nunique() / max(len(run), 1)
    return health


def _source(record: Mapping[str, Any]) -> object:
    source = record.get("source")
    return source.get("absolute") or source.get("location") if isinstance(source, dict) else None

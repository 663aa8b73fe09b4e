"""A run for programs: the summary and every finding, as one JSON object."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.diff.sample_changes import COLUMNS
from audit.gate.lock import pin
from reports.content.summary import issue_list, ordered, summarize

if TYPE_CHECKING:
    from audit import Run

ENDINGS = (".json",)

FORMAT_VERSION = 1
"""Increased when a key changes its meaning or is removed, not when one is added."""


def render(run: Run) -> str:
    """Return ``{"format_version", "run", "summary", "issues", "findings", "lock"}``, issues and findings worst first.

    Findings have all columns of `audit.tables.FINDINGS`; issues list the ids of their findings (`audit.run.issues`).

    Text is escaped to ASCII, so that any file name survives any encoding. NaN becomes null.
    """
    summary = dataclasses.asdict(summarize(run))
    findings = [{**record, "evidence": json.loads(record["evidence"])} for record in ordered(run).to_dict("records")]
    lock = pin(run.columns(*COLUMNS))  # so that a later version can be compared with this report
    document = {
        "format_version": FORMAT_VERSION,
        "run": run.record,
        "summary": summary,
        "issues": issue_list(run),
        "findings": findings,
        "lock": lock,
    }
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Convert a value for JSON: numpy scalars become numbers, NaN and NA null, paths text, arrays lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int) or value is None:
        return value
    return None if value is pd.NA or value is pd.NaT else str(value)

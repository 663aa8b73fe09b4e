"""Findings of the previous version, read from its JSON report: a baseline small enough for git, if the run is not kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.errors import ConfigError
from audit.gate.lock import parse_lock
from audit.run.record_schema import damage, schema_version
from audit.tables import FINDINGS, SCHEMA_VERSION

FORMAT_VERSION = 1
"""Newest version of JSON reports that is read; equals ``reports.json.FORMAT_VERSION``, which this package must not import."""

_HINT = "write it with 'imagenet-audit report RUN --format json'"


@dataclass(frozen=True, slots=True)
class KnownFindings:
    """Content of a JSON report."""

    path: Path
    record: dict[str, Any]
    """The run's ``run.json``."""
    findings: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``."""
    lock: pd.DataFrame | None = None
    """The version's images, as `audit.gate.lock.read_lock` returns them; None in reports of version 0.1.0."""


def read_findings(path: Path) -> KnownFindings:
    """Read a JSON report's findings. Raises ConfigError if it cannot be read, is not a JSON report, or was written by a newer version."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "pass a run or its JSON report") from error
    except ValueError as error:
        raise ConfigError(path, f"is not valid JSON ({error})", _HINT) from error
    rows, record = (document.get(name) if isinstance(document, dict) else None for name in ("findings", "run"))
    if not isinstance(rows, list) or not isinstance(record, dict):
        raise ConfigError(path, "is not a JSON report: 'findings' or 'run' is missing", _HINT)
    if document.get("format_version", FORMAT_VERSION) != FORMAT_VERSION or (schema_version(record) or 0) > SCHEMA_VERSION:
        raise ConfigError(path, "was written by a newer version", "update imagenet-audit, or write the report again with this version")
    damaged = damage(record, required=())
    if damaged is not None:
        raise ConfigError(path, f"corrupt: in its 'run', {damaged}", _HINT)
    for number, row in enumerate(rows):
        missing = [name for name in FINDINGS.names if not isinstance(row, dict) or name not in row]
        if missing:
            raise ConfigError(path, f"finding {number} has no {missing[0]!r}", _HINT)
    findings = pd.DataFrame([{**row, "evidence": json.dumps(row["evidence"])} for row in rows], columns=FINDINGS.names)
    lock = document.get("lock")
    return KnownFindings(path, record, findings, parse_lock(lock.encode("ascii", "replace"), path) if isinstance(lock, str) else None)

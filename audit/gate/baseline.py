"""Findings of the version before, from its JSON report: a baseline small enough for git, where its run is not kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.errors import ConfigError
from audit.run.record_schema import damage, schema_version
from audit.tables import FINDINGS, SCHEMA_VERSION

FORMAT_VERSION = 1
"""Of JSON reports, up to which this one reads; as ``reports.json.FORMAT_VERSION``, which this package may not import."""

_MEND = "write it with 'imagenet-audit report RUN --format json'"


@dataclass(frozen=True, slots=True)
class KnownFindings:
    """What a JSON report tells of a run."""

    path: Path
    record: dict[str, Any]
    """The run's ``run.json``."""
    findings: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``."""


def read_findings(path: Path) -> KnownFindings:
    """Read a JSON report's findings.

    Raises:
        ConfigError: it cannot be read, is no JSON report of a run, or one of a newer version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "name a run, or the JSON report of one") from error
    except ValueError as error:
        raise ConfigError(path, f"is no JSON ({error})", _MEND) from error
    rows, record = (document.get(name) if isinstance(document, dict) else None for name in ("findings", "run"))
    if not isinstance(rows, list) or not isinstance(record, dict):
        raise ConfigError(path, "is no JSON report of a run: it has no 'findings' and 'run'", _MEND)
    if document.get("format_version", FORMAT_VERSION) != FORMAT_VERSION or (schema_version(record) or 0) > SCHEMA_VERSION:
        raise ConfigError(path, "made by a newer version", "update imagenet-audit, or write it anew with this one")
    damaged = damage(record, required=())
    if damaged is not None:
        raise ConfigError(path, f"is damaged: of its run, {damaged}", _MEND)
    for number, row in enumerate(rows):
        missing = [name for name in FINDINGS.names if not isinstance(row, dict) or name not in row]
        if missing:
            raise ConfigError(path, f"finding {number} has no {missing[0]!r}", _MEND)
    findings = pd.DataFrame([{**row, "evidence": json.dumps(row["evidence"])} for row in rows], columns=FINDINGS.names)
    return KnownFindings(path, record, findings)

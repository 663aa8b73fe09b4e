"""A check's findings as a table with stable ids, printable text and reproducible bytes."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from audit.io.console import safe
from audit.tables import FINDINGS, SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

    from audit.checks.base import Check, Finding, Result

_ID_CHARACTERS = 16
"""64 bits: among ten million findings, the probability of a collision is three in a million."""

_SIGNIFICANT_DIGITS = 6
"""Digits of numbers in the evidence: more than any threshold needs, fewer than those in which machines differ."""


def to_table(check: Check, result: Result, samples: pd.DataFrame) -> pa.Table:
    """Return a check's findings, worst first, ties by sample id.

    Args:
        check: the check.
        result: its result, as ``run_check`` returned it.
        samples: columns of ``audit.tables.SAMPLES``; row *i* is sample *i*.

    Returns:
        A table of ``audit.tables.FINDINGS``. If a finding has a partner, the evidence contains its sample id as ``partner``.
    """
    findings = result.findings
    used = sorted({row for finding in findings for row in (finding.row, finding.partner, finding.group) if row is not None})
    columns = samples[["sample_id", "content_id", "split", "label"]].iloc[used]
    sample_of = dict(zip(used, _records(columns), strict=True))
    ids = finding_ids(check.name, findings, sample_of)
    rows = [_row(check.name, finding, ids[at], sample_of) for at, finding in enumerate(findings)]
    rows.sort(key=lambda row: (-SEVERITIES.index(row["severity"]), -row["score"], row["sample_id"] or "", row["finding_id"]))
    return pa.Table.from_pylist(rows, FINDINGS)


def finding_ids(check: str, findings: Sequence[Finding], sample_of: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Return a unique id for each finding.

    An id depends on the check, the kind, the label and the bytes of the images, not on their names: it stays the same when files are moved, reordered
    or added. Findings that agree in all of these (about byte-identical copies) are distinguished by their ordinal in the order of sample ids, so that
    a decision to drop one copy never drops both.

    Args:
        check: the check's name.
        findings: all findings of the check.
        sample_of: row -> ``sample_id`` and ``content_id``, for every row and partner.

    Returns:
        The first 16 hexadecimal digits of a SHA-256 for each finding.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for at, finding in enumerate(findings):
        partner = None if finding.partner is None else _identity(sample_of[finding.partner])
        subject = None if finding.row is None else _identity(sample_of[finding.row])
        group = _identity(sample_of[finding.group]) if finding.row is None and finding.group is not None else None
        same[json.dumps([check, finding.kind, subject, partner, group, finding.label])].append(at)
    ids = [""] * len(findings)
    for key, members in same.items():
        for ordinal, at in enumerate(sorted(members, key=lambda at: _names(findings[at], sample_of))):
            ids[at] = hashlib.sha256(f"{ordinal}:{key}".encode()).hexdigest()[:_ID_CHARACTERS]
    return ids


def identity(content_id: str | None, sample_id: str) -> str:
    """Return an image's content id; a hash of its sample id if its bytes could not be read."""
    return content_id or hashlib.sha256(f"unread: {sample_id}".encode()).hexdigest()


def evidence_json(evidence: Mapping[str, Any]) -> str:
    """Return evidence as reproducible JSON: sorted keys, six significant digits, null for numbers that are not finite."""
    return json.dumps(_plain(evidence), sort_keys=True, ensure_ascii=False, allow_nan=False)


def _row(check: str, finding: Finding, finding_id: str, sample_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    sample = {} if finding.row is None else sample_of[finding.row]
    partner = {} if finding.partner is None else {"partner": sample_of[finding.partner]["sample_id"]}
    return {
        "finding_id": finding_id,
        "check": check,
        "kind": finding.kind,
        "subject": _subject(finding),
        "severity": finding.severity,
        "score": float(np.float32(finding.score)),
        "sample_id": sample.get("sample_id"),
        "content_id": sample.get("content_id"),
        "group_id": None if finding.group is None else _identity(sample_of[finding.group])[:_ID_CHARACTERS],
        "split": sample.get("split"),
        "label": finding.label if finding.row is None else sample.get("label"),
        "suggested_label": finding.suggested_label,
        "message": safe(finding.message),
        "evidence": evidence_json({**partner, **finding.evidence}),
    }


def _subject(finding: Finding) -> str:
    if finding.row is not None:
        return "sample"
    if finding.group is not None:
        return "group"
    return "dataset" if finding.label is None else "class"


def _identity(sample: Mapping[str, Any]) -> str:
    return identity(sample["content_id"], sample["sample_id"])


def _names(finding: Finding, sample_of: Mapping[int, Mapping[str, Any]]) -> tuple[str, ...]:
    rows = (finding.row, finding.partner)
    return (*("" if row is None else str(sample_of[row]["sample_id"]) for row in rows), finding.message, evidence_json(finding.evidence))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as dictionaries, with None for nulls."""
    columns = {name: [None if null else value for value, null in zip(frame[name], frame[name].isna(), strict=True)] for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """Return a value with JSON types only."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return float(f"{value:.{_SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"evidence contains a {type(value).__name__}, which JSON does not support")

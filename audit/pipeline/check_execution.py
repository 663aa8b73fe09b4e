"""Run one check on read-only tables and validate its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Check, Finding, Missing, Result, Skipped
from audit.errors import AuditError
from audit.tables import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_check(check: Check, tables: Mapping[str, object], options: object | None = None) -> Result | Skipped:
    """Run a check on a run's tables.

    Args:
        check: the check.
        tables: every table by name, or ``Missing``; ``samples`` is required.
        options: an instance of the check's ``Options``; None means the defaults.

    Returns:
        float32 scores ``[n]`` and the findings, or why the check does not apply.

    Raises:
        AuditError: the check's result breaks the contract of ``docs/writing-a-check.md``.
    """
    given: dict[str, Any] = {}
    for name in (*check.needs, *check.optional_needs):
        table = tables.get(name, Missing(f"this run has no {name}"))
        if not isinstance(table, Missing):
            given[name] = _read_only(table)
        elif name in check.needs:
            return Skipped(table.reason)
        else:
            given[name] = None
    if check.options is not None:
        given["options"] = check.options() if options is None else options
    try:
        result = check.run(**given)
    except Exception as error:
        error.add_note(f"in the check {check.name} ({check.origin})")
        raise
    if isinstance(result, Skipped):
        return result
    samples: Any = tables["samples"]
    return validated(check, result, len(samples))


def validated(check: Check, result: object, n: int) -> Result:
    """Return a check's result with float32 scores. Raises AuditError if scores or findings break the contract."""
    if not isinstance(result, Result):
        raise _broken(check, f"returned {type(result).__name__}, not Result or Skipped")
    scores = np.asarray(result.scores)
    if scores.shape != (n,):
        raise _broken(check, f"returned scores of shape {scores.shape} for {n} samples")
    scores = scores.astype(np.float32)
    outside = scores[~(np.isnan(scores) | ((scores >= 0) & (scores <= 1)))]
    if len(outside):
        raise _broken(check, f"returned the score {outside[0]}, outside 0..1")
    _validate_findings(check, result.findings, n)
    return Result(scores, result.findings, result.note)


def _validate_findings(check: Check, findings: Sequence[Finding], n: int) -> None:
    for finding in findings:
        if not (math.isfinite(finding.score) and 0 <= finding.score <= 1):
            raise _broken(check, f"returned a finding {finding.kind!r} with the score {finding.score}, outside 0..1")
        if finding.severity not in SEVERITIES:
            raise _broken(check, f"returned a finding {finding.kind!r} with the severity {finding.severity!r}")
        for row in (finding.row, finding.partner, finding.group):
            if row is not None and not 0 <= row < n:
                raise _broken(check, f"returned a finding {finding.kind!r} about row {row} of {n}")


def _broken(check: Check, problem: str) -> AuditError:
    return AuditError(f"check {check.name} ({check.origin})", problem, f"fix the check, or skip it with --skip {check.name}")


def _read_only(table: object) -> object:
    """Return a read-only view or a shallow copy of a table; its content is not copied."""
    if isinstance(table, np.ndarray):
        view = table.view()
        view.flags.writeable = False
        return view
    if isinstance(table, list):
        return list(table)
    if isinstance(table, Mapping):
        return MappingProxyType(table)
    copy = getattr(table, "copy", None)  # a pandas frame: pandas copies a column only when it is written to
    return copy(deep=False) if copy is not None else table

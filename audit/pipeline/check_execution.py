"""Run one check: hand it the tables it names, read-only, and hold its answer to what was promised."""

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
        check: as discovered.
        tables: every table by name; ``Missing`` where the run has none. ``samples`` is always there.
        options: an instance of the check's ``Options``; its defaults where None.

    Returns:
        float32 scores ``[n]`` and the findings, or why the check does not apply.

    Raises:
        AuditError: the check's answer breaks the contract of ``docs/writing-a-check.md``.
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
    """Return a check's result with float32 scores.

    Raises:
        AuditError: scores or findings are not what the contract promises.
    """
    if not isinstance(result, Result):
        raise _broken(check, f"gave back {type(result).__name__}, not Result or Skipped")
    scores = np.asarray(result.scores)
    if scores.shape != (n,):
        raise _broken(check, f"gave scores of shape {scores.shape} for {n} samples")
    scores = scores.astype(np.float32)
    if not (np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all():
        bad = scores[~(np.isnan(scores) | ((scores >= 0) & (scores <= 1)))][0]
        raise _broken(check, f"gave the score {bad}, outside 0..1")
    _validate_findings(check, result.findings, n)
    return Result(scores, result.findings)


def _validate_findings(check: Check, findings: Sequence[Finding], n: int) -> None:
    for finding in findings:
        if not (math.isfinite(finding.score) and 0 <= finding.score <= 1):
            raise _broken(check, f"gave a finding {finding.kind!r} the score {finding.score}, outside 0..1")
        if finding.severity not in SEVERITIES:
            raise _broken(check, f"gave a finding {finding.kind!r} the severity {finding.severity!r}")
        for row in (finding.row, finding.partner, finding.group):
            if row is not None and not 0 <= row < n:
                raise _broken(check, f"gave a finding {finding.kind!r} about row {row} of {n}")


def _broken(check: Check, problem: str) -> AuditError:
    return AuditError(f"check {check.name} ({check.origin})", problem, f"mend the check, or leave it out with --skip {check.name}")


def _read_only(table: object) -> object:
    """Guard a table against being changed, where that costs no copy of its content."""
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

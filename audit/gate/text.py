"""What became of a policy, for people as lines and for machines as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audit.diff.text import records
from audit.gate.formats.base import subject
from audit.gate.verdict import FAILED, PASSED, UNKNOWN
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.gate.gate import Gate

FORMAT_VERSION = 1
"""Rises when a key of `document` changes its meaning or goes."""

_SHOWN = 5
"""Findings named below a rule that failed."""

_WORDS = {PASSED: "passed", FAILED: "FAILED", UNKNOWN: "NOT FOUND OUT"}


def document(gate: Gate) -> dict[str, Any]:
    """Return a gate as JSON values: verdicts, waivers and every finding with its state."""
    return {
        "format_version": FORMAT_VERSION,
        "passed": gate.outcome == PASSED,
        "exit_code": gate.exit_code,
        "run": gate.run or None,
        "verdicts": [dataclasses.asdict(verdict) for verdict in gate.verdicts],
        "waived": sorted(gate.waived.ids),
        "expired_waivers": [waiver.finding for waiver in gate.waived.expired],
        "unmatched_waivers": [waiver.finding for waiver in gate.waived.unmatched],
        "notes": list(gate.notes),
        "since": None if gate.since is None else {"lock": gate.lock, "counts": dict(gate.since.counts), "samples": records(gate.since.samples)},
        "findings": records(gate.findings),
    }


def lines(gate: Gate) -> Iterator[str]:
    """Yield a gate as a person reads it; lines that go on with a rule are indented."""
    named = {finding for verdict in gate.failed for finding in verdict.findings[:_SHOWN]}
    by_id = gate.findings[gate.findings["finding_id"].isin(named)].set_index("finding_id")
    for verdict in gate.verdicts:
        yield f"{verdict.state:<10} {safe(verdict.rule)}: {safe(verdict.message)}"
        for finding_id in verdict.findings[:_SHOWN]:
            row = by_id.loc[finding_id]
            yield f"           {safe(subject(row['sample_id'], row['label']))}: {safe(row['message'])} [{finding_id}]"
        if len(verdict.findings) > _SHOWN:
            yield f"           and {len(verdict.findings) - _SHOWN:,} more"
    for line in gate.said():
        yield f"note: {safe(line)}"
    waived = len(gate.waived.ids)
    yield f"{_WORDS[gate.outcome]}: {gate.told()}, {waived:,} finding{'s' * (waived != 1)} waived"

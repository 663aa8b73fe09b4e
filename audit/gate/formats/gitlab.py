"""GitLab's code quality report: a JSON array of issues, shown in the merge request.

Keys as in GitLab's documentation of the report format: ``description, check_name, fingerprint, severity, location.path, location.lines.begin``; the
path is relative to the repository and has no ``./`` before it. A fingerprint is a finding's id, so an issue that persists is not shown as new.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from audit.gate.formats.base import image_path, policy_path, reported, subject
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.gate.gate import Gate

MOST = 25_000
"""Issues written: a merge request lists every one, and nobody reads further."""

_SEVERITY = {"error": "critical", "warning": "minor", "info": "info"}
_RULE = "blocker"
"""Severity of a rule that failed or is unknown."""


def render(gate: Gate) -> str:
    """Return the gate as a code quality report: rules that failed or are unknown, then findings, those first that made a rule fail."""
    policy = safe(policy_path(gate))
    found = reported(gate)
    room = MOST - len(gate.against) - 1
    issues = [
        _issue(f"{verdict.rule}: {verdict.message}", "policy", _digest(f"{verdict.rule}:{number}"), _RULE, policy, verdict.line)
        for number, verdict in enumerate(gate.against)
    ]
    for row in found.head(room).to_dict("records"):
        name = subject(row["sample_id"], row["label"])
        path = safe(image_path(gate, row["sample_id"])) if isinstance(row["sample_id"], str) else policy
        severity = "critical" if row["failed"] else _SEVERITY[row["severity"]]
        issues.append(_issue(f"{name}: {row['message']}", f"{row['check']}/{row['kind']}", _digest(row["finding_id"]), severity, path, 1))
    if len(found) > room:
        issues.append(_issue(f"and {len(found) - room:,} more findings, which are not listed", "policy", _digest("more"), "info", policy, 1))
    return json.dumps(issues, indent=1) + "\n"


def _issue(description: str, check: str, fingerprint: str, severity: str, path: str, line: int) -> dict[str, Any]:
    return {
        "description": safe(description),
        "check_name": check,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": path, "lines": {"begin": line}},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""GitLab code quality report: a JSON array of issues, shown in the merge request.

The keys are those of GitLab's documentation: ``description, check_name, fingerprint, severity, location.path, location.lines.begin``. Paths are
relative to the repository, without ``./``. The fingerprint is made from the finding's id, so a persisting issue is not shown as new.
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
"""Maximum number of issues: a merge request lists every one."""

_SEVERITY = {"error": "critical", "warning": "minor", "info": "info"}
_RULE = "blocker"
"""Severity of failed and unknown rules."""


def render(gate: Gate) -> str:
    """Return the gate as a code quality report: failed and unknown rules, then findings, those of failed rules first."""
    policy = safe(policy_path(gate))
    found = reported(gate)
    room = MOST - len(gate.blocking) - 1
    issues = [
        _issue(f"{verdict.rule}: {verdict.message}", "policy", _digest(f"{verdict.rule}:{number}"), _RULE, policy, verdict.line)
        for number, verdict in enumerate(gate.blocking)
    ]
    for row in found.head(room).to_dict("records"):
        name = subject(row["sample_id"], row["label"])
        path = safe(image_path(gate, row["file"])) if isinstance(row["file"], str) else policy
        severity = "critical" if row["failed"] else _SEVERITY[row["severity"]]
        issues.append(_issue(f"{name}: {row['message']}", f"{row['check']}/{row['kind']}", _digest(row["finding_id"]), severity, path, 1))
    if len(found) > room:
        issues.append(_issue(f"and {len(found) - room:,} more findings, not listed", "policy", _digest("more"), "info", policy, 1))
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

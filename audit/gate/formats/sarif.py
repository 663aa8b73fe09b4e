"""SARIF 2.1.0 (OASIS standard): failed rules and findings as results, for GitHub code scanning and other viewers.

A SARIF rule is a check's kind (``leakage/identical_bytes``) or a rule of the policy (``policy/limits.leakage``). The fingerprint is the finding's id,
so an alert survives a renamed file. Waived findings are omitted, because viewers show suppressed results as open.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from audit.gate.formats.base import image_path, policy_path, reported, subject
from audit.io.console import safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.gate.gate import Gate
    from audit.gate.verdict import Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

MOST = 25_000
"""Maximum number of results; GitHub code scanning rejects a file with more."""

_LEVEL = {"error": "error", "warning": "warning", "info": "note"}


def render(gate: Gate) -> str:
    """Return the gate as one SARIF run: failed and unknown rules, then findings, those of failed rules first."""
    policy = _uri(policy_path(gate))
    found = reported(gate)
    room = MOST - len(gate.blocking)
    rows = found.head(room).to_dict("records")
    rules = _rules(gate, rows)
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    rules_of: dict[str, list[str]] = {}
    for verdict in gate.failed:
        for finding in verdict.findings:
            rules_of.setdefault(finding, []).append(verdict.rule)
    results = [_of_rule(verdict, policy, numbers) for verdict in gate.blocking]
    for row in rows:
        path = _uri(image_path(gate, row["file"])) if isinstance(row["file"], str) else None
        results.append(_of_finding(row, path, policy, numbers, rules_of.get(row["finding_id"], [])))
    notes = [{"level": "note", "message": {"text": _message(line)}} for line in gate.remarks()]
    if len(found) > room:
        notes.append({"level": "warning", "message": {"text": f"{len(found) - room:,} more findings are not listed: the limit is {MOST:,} results"}})
    run = {
        "tool": {"driver": {"name": "imagenet-audit", "version": gate.version, "rules": rules}},
        "invocations": [{"executionSuccessful": True, "exitCode": gate.exit_code, "toolExecutionNotifications": notes}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rules(gate: Gate, rows: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    from audit.checks import discover

    titles = {name: check.title for name, check in discover().items()}
    kinds = sorted({(str(row["check"]), str(row["kind"])) for row in rows})
    policy = [
        {"id": _rule_id(rule), "shortDescription": {"text": _message(f"policy rule {rule}")}, "properties": {"tags": ["policy"]}}
        for rule in dict.fromkeys(verdict.rule for verdict in gate.blocking)
    ]
    return policy + [
        {
            "id": f"{check}/{kind}",
            "shortDescription": {"text": _message(titles.get(check, check))},
            "help": {"text": f"How the check works and its blind spots: docs/checks/{check}.md"},
            "properties": {"tags": [check]},
        }
        for check, kind in kinds
    ]


def _of_rule(verdict: Verdict, policy: str, numbers: Mapping[str, int]) -> dict[str, Any]:
    rule = _rule_id(verdict.rule)
    return {
        "ruleId": rule,
        "ruleIndex": numbers[rule],
        "level": "error",
        "message": {"text": _message(f"{verdict.rule}: {verdict.message}")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": policy}, "region": {"startLine": verdict.line}}}],
        "partialFingerprints": {"primaryLocationLineHash": f"{rule}:{verdict.line}"},
    }


def _of_finding(row: dict[Any, Any], path: str | None, policy: str, numbers: Mapping[str, int], rules: list[str]) -> dict[str, Any]:
    rule = f"{row['check']}/{row['kind']}"
    name = subject(row["sample_id"], row["label"])
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": path or policy}}}
    if path is None:
        location["logicalLocations"] = [{"name": safe(name), "kind": row["subject"]}]
    properties = {key: row[key] for key in ("split", "label", "suggested_label") if isinstance(row[key], str)}
    result: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": numbers[rule],
        "level": "error" if row["failed"] else _LEVEL[row["severity"]],
        "message": {"text": _message(f"{name}: {row['message']}")},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": row["finding_id"]},
        "properties": {**properties, "severity": row["severity"], "score": round(float(row["score"]), 6), "failed_rules": rules},
    }
    if row["state"] in ("new", "persisting"):
        # Refitted models may change findings about unchanged images; those are not new alerts.
        result["baselineState"] = "new" if row["state"] == "new" and row["cause"] != "context" else "unchanged"
    return result


def _rule_id(rule: str) -> str:
    return f"policy/{safe(rule)}"


def _message(text: str) -> str:
    """Escape placeholders and links in a message (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    return safe(text).replace("{", "{{").replace("}", "}}").replace("[", "\\[").replace("]", "\\]")


def _uri(path: str) -> str:
    return quote(path.encode("utf-8", "backslashreplace"), safe="/")

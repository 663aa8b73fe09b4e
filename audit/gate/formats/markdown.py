"""Markdown summary, for GitHub's job summary, a merge request comment or an e-mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.gate.formats.base import subject
from audit.gate.verdict import FAILED, NOT_JUDGED, PASSED, UNKNOWN
from audit.io.console import counted
from audit.io.markdown import code, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from audit.gate.gate import Gate

MOST_BYTES = 1024 * 1024
"""Maximum size of a step summary on GitHub, which drops a larger one."""

SHOWN = 20
"""Findings listed per rule and state."""

_MARKS = {FAILED: "❌ failed", PASSED: "✅ passed", NOT_JUDGED: "⚪ not judged", UNKNOWN: "❔ unknown"}
_WORDS = {PASSED: "passed", FAILED: "failed", UNKNOWN: "undetermined"}
_TRUNCATED = "\n*Truncated: the full report exceeds the size limit.*\n"


def render(gate: Gate, room: int = MOST_BYTES) -> str:
    """Return the gate as GitHub-flavoured Markdown.

    Args:
        gate: the result.
        room: maximum bytes of UTF-8; a longer text is truncated after a line, with a notice.
    """
    lines: list[str] = []
    left = room - len(_TRUNCATED.encode())
    for line in _lines(gate):
        left -= len(line.encode()) + 1
        if left < 0:
            return "\n".join([*lines, _TRUNCATED])
        lines.append(line)
    return "\n".join([*lines, ""])


def _lines(gate: Gate) -> Iterator[str]:
    yield f"## imagenet-audit check: {_WORDS[gate.outcome]}"
    yield ""
    yield f"{escape(gate.source) or 'The dataset'}, checked against {code(gate.policy)}."
    yield from _versions(gate)
    yield from ("", "| rule | | figures |", "|---|---|---|")
    order = {FAILED: 0, UNKNOWN: 1, NOT_JUDGED: 2, PASSED: 3}
    for verdict in sorted(gate.verdicts, key=lambda verdict: order[verdict.state]):
        yield f"| {code(verdict.rule)} | {_MARKS[verdict.state]} | {escape(verdict.message)} |"
    named = {finding for verdict in gate.failed for finding in verdict.findings[:SHOWN]}
    rows = gate.findings[gate.findings["finding_id"].isin(named)].set_index("finding_id", drop=False)
    for verdict in gate.failed:
        if verdict.findings:
            yield from ("", f"### {code(verdict.rule)}", "")
            yield from _findings(rows.loc[list(verdict.findings[:SHOWN])], len(verdict.findings))
    if gate.difference is not None:
        found = gate.difference.findings
        fixed = found[(found["state"] == "fixed") & (found["cause"] != "context")]
        if len(fixed):
            yield from ("", "### Fixed since the baseline", "")
            yield from _findings(fixed.head(SHOWN), len(fixed))
        unchanged = found[found["cause"] == "context"]["state"].value_counts()
        if len(unchanged):
            new, gone = counted(int(unchanged.get("new", 0)), "finding"), int(unchanged.get("fixed", 0))
            yield ""
            yield f"Unchanged images: {new} appeared and {gone:,} disappeared, because other images or the fitted models changed."
    remarks = list(gate.remarks())
    if remarks:
        yield from ("", "### Notes", "")
        yield from (f"- {escape(line)}" for line in remarks)


def _versions(gate: Gate) -> Iterator[str]:
    from audit.diff.comparison import STATES, Difference
    from audit.diff.sample_changes import CHANGES

    if not isinstance(gate.difference, Difference):
        return
    counts, states = gate.difference.counts, gate.difference.findings["state"].value_counts()
    changes = ", ".join(f"{counts[change]:,} {change}" for change in CHANGES if counts[change]) or "no sample changed"
    yield ""
    yield f"Since the baseline: {counts['old']:,} → {counts['new']:,} images ({changes}); findings: " + ", ".join(
        f"{int(states.get(state, 0)):,} {state}" for state in STATES
    )


def _findings(rows: pd.DataFrame, total: int) -> Iterator[str]:
    for row in rows.to_dict("records"):
        yield f"- {code(subject(row['sample_id'], row['label']))}: {escape(row['message'])} ({row['check']}, {code(row['finding_id'])})"
    if total > len(rows):
        yield f"- and {total - len(rows):,} more"

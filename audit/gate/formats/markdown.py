"""A summary in Markdown: for GitHub's job summary, a merge request's comment, a mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.gate.formats.base import subject
from audit.gate.verdict import FAILED, NOT_JUDGED, PASSED, UNKNOWN
from audit.io.markdown import code, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from audit.gate.gate import Gate

MOST_BYTES = 1024 * 1024
"""What GitHub takes as the summary of one step; it drops a larger one whole."""

SHOWN = 20
"""Findings named of each rule and state."""

_MARKS = {FAILED: "❌ failed", PASSED: "✅ passed", NOT_JUDGED: "⚪ not judged", UNKNOWN: "❔ unknown"}
_WORDS = {PASSED: "passed", FAILED: "failed", UNKNOWN: "could not be found out"}
_CUT = "\n*Cut here: the rest is longer than this place takes.*\n"


def render(gate: Gate, room: int = MOST_BYTES) -> str:
    """Return the gate as GitHub-flavoured Markdown.

    Args:
        gate: what to show.
        room: bytes of UTF-8 that it may take; what is longer is cut at a line, and says so.
    """
    lines: list[str] = []
    left = room - len(_CUT.encode())
    for line in _lines(gate):
        left -= len(line.encode()) + 1
        if left < 0:
            return "\n".join([*lines, _CUT])
        lines.append(line)
    return "\n".join([*lines, ""])


def _lines(gate: Gate) -> Iterator[str]:
    yield f"## imagenet-audit check: {_WORDS[gate.outcome]}"
    yield ""
    yield f"{escape(gate.source) or 'The dataset'}, held against {code(gate.policy)}."
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
        unmoved = found[found["cause"] == "context"]["state"].value_counts()
        if len(unmoved):
            came, went = int(unmoved.get("new", 0)), int(unmoved.get("fixed", 0))
            yield from (
                "",
                f"Of images that nobody touched, {came:,} findings came and {went:,} went: other images, or the fit, changed around them.",
            )
    said = list(gate.said())
    if said:
        yield from ("", "### Notes", "")
        yield from (f"- {escape(line)}" for line in said)


def _versions(gate: Gate) -> Iterator[str]:
    from audit.diff.comparison import STATES, Difference
    from audit.diff.sample_changes import CHANGES

    if not isinstance(gate.difference, Difference):
        return
    counts, states = gate.difference.counts, gate.difference.findings["state"].value_counts()
    changes = ", ".join(f"{counts[change]:,} {change}" for change in CHANGES if counts[change]) or "no sample is different"
    yield ""
    yield f"Since the baseline: {counts['old']:,} → {counts['new']:,} images ({changes}); findings: " + ", ".join(
        f"{int(states.get(state, 0)):,} {state}" for state in STATES
    )


def _findings(rows: pd.DataFrame, total: int) -> Iterator[str]:
    for row in rows.to_dict("records"):
        yield f"- {code(subject(row['sample_id'], row['label']))}: {escape(row['message'])} ({row['check']}, {code(row['finding_id'])})"
    if total > len(rows):
        yield f"- and {total - len(rows):,} more"

"""GitHub workflow commands: annotations on the change and on the run's page.

GitHub shows at most ten errors, ten warnings and ten notices per step and silently drops the rest, so the last annotation gives the number of other
ones. In a command, ``%`` and newlines are escaped, and in properties also ``:`` and ``,``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.gate.formats.base import image_path, policy_path, reported, subject
from audit.gate.verdict import NOT_JUDGED
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.gate.gate import Gate

MOST = 10
"""Annotations per level that GitHub shows for a step."""


def render(gate: Gate) -> str:
    """Return one line per annotation: failed and unknown rules and the worst findings as errors, waivers and rules not judged as warnings."""
    policy = policy_path(gate)
    errors = [command("error", f"{verdict.rule}: {verdict.message}", file=policy, line=verdict.line) for verdict in gate.blocking]
    found = reported(gate)
    failed = found[found["failed"]]
    for row in failed.head(MOST).to_dict("records"):
        path = image_path(gate, row["file"]) if isinstance(row["file"], str) else policy
        errors.append(command("error", f"{subject(row['sample_id'], row['label'])}: {row['message']}", file=path, title=row["check"]))
    more = max(len(failed) - MOST, 0)
    warnings = []
    for problem, waivers in (("has expired", gate.waived.expired), ("matches no finding", gate.waived.unmatched)):
        for waiver in waivers:
            path, _, line = waiver.where.rpartition(":")
            warnings.append(command("warning", f"waiver for {waiver.finding} {problem}: {waiver.reason}", file=path, line=line))
    warnings += [
        command("warning", f"{verdict.rule} was not judged: {verdict.message}", file=policy, line=verdict.line)
        for verdict in gate.verdicts
        if verdict.state == NOT_JUDGED
    ]
    lines = [*_cut("error", errors, more), *_cut("warning", warnings, 0)]
    return "".join(f"{line}\n" for line in lines)


def command(name: str, message: str, **properties: object) -> str:
    r"""Return a workflow command; properties that are None or empty are left out.

    >>> command("error", "50%\nof, it", file="a:b,c.jpg")
    '::error file=a%3Ab%2Cc.jpg::50%25\\nof, it'
    """
    given = ",".join(f"{key}={_data(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in properties.items() if value)
    return f"::{name}{' ' if given else ''}{given}::{_data(message)}"


def _data(value: object) -> str:
    return safe(value).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _cut(name: str, lines: list[str], more: int) -> list[str]:
    """Return at most as many lines as GitHub shows; the last one gives the number of dropped ones."""
    if len(lines) + more <= MOST:
        return lines
    return [*lines[: MOST - 1], command(name, f"and {len(lines) + more - MOST + 1:,} more; see the job summary and the log")]

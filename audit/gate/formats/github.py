"""GitHub's workflow commands: annotations that stand beside the change and on the run's page.

GitHub shows at most ten errors, ten warnings and ten notices of a step; the rest is dropped without a word, so the last one says how many more there
are. Commands are lines: what a name holds of ``%``, line ends, and in properties ``:`` and ``,``, is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.gate.formats.base import image_path, policy_path, reported, subject
from audit.gate.verdict import NOT_JUDGED
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.gate.gate import Gate

MOST = 10
"""Annotations of one level that GitHub shows of a step."""


def render(gate: Gate) -> str:
    """Return a line for each annotation: failed and unknown rules and the worst findings as errors, waivers and rules not judged as warnings."""
    policy = policy_path(gate)
    errors = [command("error", f"{verdict.rule}: {verdict.message}", file=policy, line=verdict.line) for verdict in gate.against]
    found = reported(gate)
    failed = found[found["failed"]]
    for row in failed.head(MOST).to_dict("records"):
        named = isinstance(row["sample_id"], str)
        path = image_path(gate, row["sample_id"]) if named else policy
        errors.append(command("error", f"{subject(row['sample_id'], row['label'])}: {row['message']}", file=path, title=row["check"]))
    more = max(len(failed) - MOST, 0)
    waivers = [(waiver, "has expired") for waiver in gate.waived.expired] + [(waiver, "matches no finding") for waiver in gate.waived.unmatched]
    warnings = [command("warning", f"the waiver of {waiver.finding} {word}: {waiver.reason}", **_place(waiver.place)) for waiver, word in waivers]
    warnings += [
        command("warning", f"{verdict.rule} is not judged: {verdict.message}", file=policy, line=verdict.line)
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


def _place(place: str) -> dict[str, object]:
    path, _, line = place.rpartition(":")
    return {"file": path, "line": line}


def _cut(name: str, lines: list[str], more: int) -> list[str]:
    """Return no more than GitHub shows; where some are left out, the last says how many."""
    if len(lines) + more <= MOST:
        return lines
    return [*lines[: MOST - 1], command(name, f"and {len(lines) + more - MOST + 1:,} more; the job's summary and the log have them")]

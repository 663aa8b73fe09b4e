"""What became of one rule of a policy."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, NOT_JUDGED, UNKNOWN = "passed", "failed", "not judged", "unknown"
"""A rule that is not judged does not apply, and the others decide; without what is unknown, nobody can tell whether the policy is held."""

NO_BASELINE = "there is no baseline"
"""Why a rule is not judged that needs one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule."""

    rule: str
    state: str
    """`PASSED`, `FAILED`, `NOT_JUDGED` or `UNKNOWN`."""
    message: str
    """The figures, or why it cannot be judged, and where it is unknown, what to do."""
    findings: tuple[str, ...] = ()
    """Ids of the findings that a failed limit counted."""
    line: int = 1
    """Where the policy asks for it, from 1."""

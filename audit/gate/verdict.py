"""Result of one rule of a policy."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, NOT_JUDGED, UNKNOWN = "passed", "failed", "not judged", "unknown"
"""States of a rule. ``not judged``: the rule does not apply, and the others decide. ``unknown``: whether the version passes cannot be determined."""

NO_BASELINE = "there is no baseline"
"""Message of a rule that needs a baseline and has none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one rule."""

    rule: str
    state: str
    """`PASSED`, `FAILED`, `NOT_JUDGED` or `UNKNOWN`."""
    message: str
    """The figures, or the reason why the rule cannot be judged and, if it is unknown, the fix."""
    findings: tuple[str, ...] = ()
    """Ids of the findings that a failed limit counted."""
    line: int = 1
    """Line in the policy, from 1."""

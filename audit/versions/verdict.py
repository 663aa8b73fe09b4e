"""What became of one rule of a policy."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, NOT_JUDGED = "passed", "failed", "not judged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule."""

    rule: str
    state: str
    """`PASSED`, `FAILED` or `NOT_JUDGED`."""
    message: str
    """The figures, or why it cannot be judged."""
    findings: tuple[str, ...] = ()
    """Ids of the findings that a failed limit counted."""
    line: int = 1
    """Where the policy asks for it, from 1."""

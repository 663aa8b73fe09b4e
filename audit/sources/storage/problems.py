"""What a listing met that is no image's own outcome: parts that could not be listed, entries that say the same or too little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

NOT_LISTED = "not_listed"
"""Kind of a problem that means that images may be missing from the list: no version with one is whole."""

EXAMPLES = 3
"""Names told of a problem that many entries have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing about a dataset that a person should know; the check ``listing`` makes a finding of it."""

    kind: str
    problem: str
    """What is wrong and where, without a period."""
    hint: str
    """What to do about it, without a period."""
    severity: str = "warning"
    """One of ``audit.tables.SEVERITIES``."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    """JSON values; the keys are explained in ``docs/checks/listing.md``."""

    @property
    def message(self) -> str:
        """Both as one sentence."""
        return f"{self.problem}; {self.hint}."

    def as_json(self) -> dict[str, object]:
        """Return the problem as ``run.json`` keeps it."""
        return {"kind": self.kind, "severity": self.severity, "message": self.message, "evidence": dict(self.evidence)}


@dataclass(slots=True)
class Tally:
    """How many entries have a problem, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more entry."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)

    def __str__(self) -> str:
        return named(self.examples, self.count)


def named(names: Iterable[str], count: int, most: int = EXAMPLES) -> str:
    """Return the first of some names and how many more there are.

    >>> named(["a", "b", "c", "d"], 4, 2)
    'a, b and 2 more'
    """
    shown = list(islice(names, most))
    return ", ".join(shown) + (f" and {count - len(shown):,} more" if count > len(shown) else "")

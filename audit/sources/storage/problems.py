"""Problems of a dataset's listing as a whole: parts that could not be listed, duplicate or incomplete entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from audit.sources.storage.names import is_image, sample_id

NOT_LISTED = "not_listed"
"""The problem kind that means that images may be missing from the listing."""

EXAMPLES = 3
"""Names listed as examples of a problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem of a dataset's listing; the check ``listing`` reports it as a finding."""

    kind: str
    problem: str
    """What is wrong and where, without a final period."""
    hint: str
    """How to fix it, without a final period."""
    severity: str = "warning"
    """One of ``audit.tables.SEVERITIES``."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    """JSON values; ``docs/checks/listing.md`` documents the keys."""

    @property
    def message(self) -> str:
        """Problem and hint as one sentence."""
        return f"{self.problem}; {self.hint}."

    def as_json(self) -> dict[str, object]:
        """Return the problem as it is written to ``run.json``."""
        return {"kind": self.kind, "severity": self.severity, "message": self.message, "evidence": dict(self.evidence)}


@dataclass(slots=True)
class Tally:
    """A count of entries, with the first few as examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count an entry."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)

    def __str__(self) -> str:
        return named(self.examples, self.count)


class HiddenImages(Tally):
    """Hidden files, and files of hidden folders, with the extension of an image."""

    def note(self, path: str) -> None:
        """Count a file that is not listed because a part of its path is hidden, if it may be an image."""
        name = path.rpartition("/")[2]
        if is_image(name) and not name.startswith("._"):  # macOS's companions of files are not images
            self.add(sample_id(path))

    def problems(self) -> Iterator[Problem]:
        """Yield one problem, if there are hidden images."""
        if self.count:
            verb = "hidden image was" if self.count == 1 else "hidden images were"
            problem = f"{self.count:,} {verb} not listed, but many loaders read them: {self}"
            yield Problem(kind="hidden_image", problem=problem, hint="rename or remove them", evidence={"entries": self.count})


def named(names: Iterable[str], count: int, most: int = EXAMPLES) -> str:
    """Return the first few names and the number of others.

    >>> named(["a", "b", "c", "d"], 4, 2)
    'a, b and 2 more'
    """
    shown = list(islice(names, most))
    return ", ".join(shown) + (f" and {count - len(shown):,} more" if count > len(shown) else "")

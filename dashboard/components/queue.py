"""The queue of findings to review: selection, order and current verdicts; no drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

UNDECIDED, DECIDED, ALL = "not decided", "decided", "all"
STATES = (UNDECIDED, DECIDED, ALL)


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of a queue; an empty tuple selects everything."""

    checks: tuple[str, ...]
    """At least one."""
    kinds: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    state: str = ALL

    def where(self) -> dict[str, tuple[str, ...]]:
        """Return column -> values for `audit.run.findings_index.select`; verdicts and state are not columns of the findings."""
        wanted = {
            "check": self.checks,
            "kind": self.kinds,
            "severity": self.severities,
            "split": self.splits,
            "label": self.labels,
            "suggested_label": self.suggested,
        }
        return {column: values for column, values in wanted.items() if values}


def verdict_of(decisions: pd.DataFrame) -> dict[str, str]:
    """Return finding id -> current verdict: ``disputed`` if reviewers differ, ``unsure`` if that is the only verdict.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
    """
    found: dict[str, str] = {}
    about = decisions[decisions["finding_id"].notna()]
    for finding, verdict in zip(about["finding_id"], about["verdict"], strict=True):
        before = found.get(finding)
        if before in (None, "unsure", verdict):
            found[finding] = verdict
        elif verdict != "unsure":
            found[finding] = "disputed"
    return found


def build(
    index: pd.DataFrame, filters: Filters, decisions: pd.DataFrame, precision: pd.DataFrame | None = None, *, whole_first: bool = False
) -> list[str]:
    """Return the ids of the findings to review, most important first.

    Args:
        index: as `audit.run.run.Run.findings_index`.
        filters: the filters to apply.
        decisions: the current decisions.
        precision: precision of each check so far, which changes the order; None without decisions.
        whole_first: put findings about classes and the dataset before those about images: they are few, and each concerns many images.
    """
    from audit.run.findings_index import select
    from audit.run.ranking import ranked

    chosen = select(index, filters.where())
    decided = verdict_of(decisions)
    if filters.state != ALL:
        chosen = chosen[chosen["finding_id"].isin(decided) == (filters.state == DECIDED)]
    if filters.verdicts:
        chosen = chosen[chosen["finding_id"].map(decided).isin(filters.verdicts)]
    if precision is not None and precision["decided"].any():
        chosen = ranked(chosen, precision)
    if whole_first:
        chosen = chosen.iloc[chosen["sample_id"].notna().to_numpy().argsort(kind="stable")]
    return [str(finding) for finding in chosen["finding_id"]]


def next_undecided(queue: list[str], after: str | None, decided: Mapping[str, str]) -> str:
    """Return the next undecided finding, wrapping around at the end; the next finding if all are decided.

    Args:
        queue: ids of findings, at least one.
        after: id of the finding to search from; the search starts at the beginning if it is None or not in the queue.
        decided: finding id -> verdict.
    """
    start = queue.index(after) + 1 if after in queue else 0
    found = next((finding for finding in [*queue[start:], *queue[:start]] if finding not in decided), None)
    return found or queue[min(start, len(queue) - 1)]

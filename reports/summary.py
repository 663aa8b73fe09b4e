"""The numbers that every format prints, computed once.

A summary is small whatever the size of the run: it holds totals and the few worst findings, never all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.tables import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from audit import Run

WORST_PER_CHECK = 3
"""Findings shown of each check: enough to see what kind of thing it is, few enough that every check fits on a screen."""

TOP = 10
"""Findings in the list across all checks."""

MOST_CERTAIN = ("conflicting_labels",)
"""Checks that come first among those of equal severity: one picture with two labels is an error whatever the labels mean."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the images. ``listed == scanned + failed``."""

    listed: int
    scanned: int
    failed: int
    outcomes: Mapping[str, int]
    """Outcome -> images; only the failures, most frequent first."""
    splits: Mapping[str, int]
    """Split -> images; empty where there are none."""
    labelled: int
    """Images with one label or several."""
    classes: int
    """Different labels; those of images with several labels are included."""
    flagged: int
    """Images that at least one finding is about."""


@dataclass(frozen=True, slots=True)
class Top:
    """One finding as a person reads it."""

    finding_id: str
    check: str
    kind: str
    severity: str
    score: float
    sample_id: str | None
    content_id: str | None
    split: str | None
    label: str | None
    suggested_label: str | None
    message: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckTotal:
    """One check's share of the run."""

    name: str
    findings: int
    severities: Mapping[str, int]
    """Severity -> findings, the most severe first, without zeros."""
    kinds: Mapping[str, int]
    """Kind -> findings, most frequent first."""
    worst: tuple[Top, ...]
    """At most `WORST_PER_CHECK`, the worst first."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that did not run, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished run in numbers."""

    path: Path
    version: str
    source: Mapping[str, Any]
    backbone: Mapping[str, Any]
    counts: Counts
    findings: int
    severities: Mapping[str, int]
    """Severity -> findings over all checks, the most severe first, zeros included."""
    checks: tuple[CheckTotal, ...]
    """Checks with findings, those most worth a person's time first."""
    clean: tuple[str, ...]
    """Checks that ran and found nothing, by name."""
    skipped: tuple[Skipped, ...]
    top: tuple[Top, ...]
    """At most `TOP` findings over all checks, the worst first."""
    seconds: float
    """Time of all stages together."""


def summarize(run: Run) -> Summary:
    """Compute the numbers of a finished run."""
    findings = ranked(run.findings)
    checks: Mapping[str, Mapping[str, Any]] = run.record.get("checks", {})
    totals = [_total(str(name), group) for name, group in findings.groupby("check", sort=False, observed=True)]
    found = {total.name for total in totals}
    return Summary(
        path=run.path,
        version=str(run.record.get("version", "")),
        source=run.record.get("source", {}),
        backbone=run.record.get("backbone") or {},
        counts=_counts(run, findings),
        findings=len(findings),
        severities={severity: int((findings["severity"] == severity).sum()) for severity in reversed(SEVERITIES)},
        checks=tuple(sorted(totals, key=_rank)),
        clean=tuple(sorted(name for name, state in checks.items() if state.get("state") == "done" and name not in found)),
        skipped=tuple(
            Skipped(name, str(state.get("reason") or "no reason given")) for name, state in sorted(checks.items()) if state.get("state") == "skipped"
        ),
        top=tuple(_top(findings.head(TOP))),
        seconds=float(sum(run.record.get("timings", {}).values())),
    )


def ranked(findings: pd.DataFrame) -> pd.DataFrame:
    """Return the findings in the order a person should look at them: severity, certainty of the check, score; ties by check and id."""
    severity = findings["severity"].map({name: position for position, name in enumerate(reversed(SEVERITIES))})
    certain = ~findings["check"].isin(MOST_CERTAIN)
    keys = findings.assign(_severity=severity, _certain=certain)
    order = keys.sort_values(
        ["_severity", "_certain", "score", "check", "finding_id"], ascending=[True, True, False, True, True], kind="stable"
    ).index
    return findings.loc[order]


def _rank(total: CheckTotal) -> tuple[int, bool, float, int, str]:
    worst = total.worst[0]
    return -SEVERITIES.index(worst.severity), total.name not in MOST_CERTAIN, -worst.score, -total.findings, total.name


def _total(name: str, group: pd.DataFrame) -> CheckTotal:
    severities = group["severity"].value_counts()
    return CheckTotal(
        name=name,
        findings=len(group),
        severities={severity: int(severities[severity]) for severity in reversed(SEVERITIES) if severity in severities.index},
        kinds={str(kind): int(count) for kind, count in group["kind"].value_counts().items()},
        worst=tuple(_top(group.head(WORST_PER_CHECK))),
    )


def _top(rows: pd.DataFrame) -> list[Top]:
    return [
        Top(
            finding_id=str(row["finding_id"]),
            check=str(row["check"]),
            kind=str(row["kind"]),
            severity=str(row["severity"]),
            score=round(float(row["score"]), 6),
            sample_id=_text(row["sample_id"]),
            content_id=_text(row["content_id"]),
            split=_text(row["split"]),
            label=_text(row["label"]),
            suggested_label=_text(row["suggested_label"]),
            message=str(row["message"]),
            evidence=json.loads(row["evidence"]),
        )
        for row in rows.to_dict("records")
    ]


def _text(value: Any) -> str | None:
    """A string column's null may be None, NaN or pandas' NA."""
    return value if isinstance(value, str) else None


def _counts(run: Run, findings: pd.DataFrame) -> Counts:
    counts: Mapping[str, Any] = run.record["counts"]
    samples = run.samples
    several = samples["labels"].dropna()
    labels = set(samples["label"].dropna().unique()) | {label for labels in several for label in labels}
    failures = {name: int(count) for name, count in counts["outcomes"].items() if name != "ok" and count}
    return Counts(
        listed=int(counts["listed"]),
        scanned=int(counts["scanned"]),
        failed=int(counts["failed"]),
        outcomes=dict(sorted(failures.items(), key=lambda item: (-item[1], item[0]))),
        splits={str(split): int(count) for split, count in samples["split"].value_counts().sort_index().items()},
        labelled=int(samples["label"].notna().sum()) + len(several),
        classes=len(labels),
        flagged=int(findings["sample_id"].nunique()),
    )

"""The numbers that every format prints, computed once.

A summary is small for any run: it contains totals and the few worst findings, never all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.review.agreement import agreement, precision
from audit.review.consensus import ACTIONS, consensus_of_run
from audit.review.decisions import Decisions
from audit.run.findings_index import select
from audit.run.issues import alike, issues
from audit.run.ranking import MOST_CERTAIN, ranked
from audit.tables import RELATIONS, SEVERITIES, cell_value
from reports.content.wording import self_test

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audit import Run

WORST_PER_CHECK = 5
"""Issues shown per check: enough to recognise the problems, few enough that every check fits on a screen."""

TOP = 10
"""Issues listed over all checks."""

_SIDES = 4
"""Issues read for each listed one: a pair may be reported for both of its images."""

MOST_OF_A_CHECK = 3
"""Issues of one check among the first ones, as long as other checks have any: ten of one kind say less than a mix."""

CONFUSED_PAIRS = 10
"""Pairs of confused classes listed."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of images. ``listed == scanned + failed``."""

    listed: int
    scanned: int
    failed: int
    outcomes: Mapping[str, int]
    """Outcome -> images; failures only, most frequent first."""
    splits: Mapping[str, int]
    """Split -> images; empty without splits."""
    labelled: int
    """Images with one label or several."""
    classes: int
    """Distinct labels, including those of images with several labels."""
    flagged: int
    """Images with at least one finding."""


@dataclass(frozen=True, slots=True)
class Top:
    """The worst finding of an issue, with its decoded evidence."""

    finding_id: str
    issue_id: str
    """See `audit.run.issues`."""
    alike: int
    """Findings of the issue; the message says so if there are several."""
    check: str
    kind: str
    subject: str
    """One of ``audit.tables.SUBJECTS``."""
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
    issues: int
    """Issues whose worst finding is from this check."""
    elsewhere: int
    """Findings in issues of other checks."""
    severities: Mapping[str, int]
    """Severity -> findings, most severe first, without zeros."""
    kinds: Mapping[str, int]
    """Kind -> findings, most frequent first."""
    worst: tuple[Top, ...]
    """Its worst issues, at most `WORST_PER_CHECK`; its worst finding if all are in issues of other checks."""
    flagged: int
    """Images with an error or warning of this check."""
    health: float
    """Share of the listed images without one, 0..1."""
    classes: int
    """Classes with an error or warning about the whole class."""
    groups: int
    """Errors and warnings about a group of images."""
    dataset: int
    """Errors and warnings about the whole dataset."""
    precision: Precision

    @property
    def without_image(self) -> bool:
        """Whether none of its errors and warnings is about an image; its health is then meaningless."""
        return not self.flagged and bool(self.classes or self.groups or self.dataset)


@dataclass(frozen=True, slots=True)
class Precision:
    """How many decided findings of a check were correct; see `audit.review.agreement.precision`."""

    decided: int
    right: int
    share: float | None
    """None without decisions."""
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DecisionTotals:
    """What reviewers decided."""

    decisions: int
    reviewers: tuple[str, ...]
    images: Mapping[str, int]
    """Action -> images, as `audit.review.consensus.consensus` returns them, without zeros."""
    shared: int
    """Subjects with decisions by two or more reviewers; `disputed` counts those that differ."""
    disputed: int
    alpha: float | None
    """Krippendorff's alpha."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Verified pairs and their groups."""

    groups: int
    images: int
    """Images in a group."""
    relations: Mapping[str, int]
    """Relation -> pairs, most certain relation first, without zeros."""


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A class whose images are predicted as another, from a finding of ``class_overlap``."""

    finding_id: str
    label: str
    predicted: str
    share: float
    share_back: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that did not run, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a finished run."""

    path: Path
    version: str
    source: Mapping[str, Any]
    backbone: Mapping[str, Any]
    counts: Counts
    findings: int
    issues: int
    """Things to look at: findings that say the same thing count as one; see `audit.run.issues`."""
    severities: Mapping[str, int]
    """Severity -> findings over all checks, most severe first, including zeros."""
    issue_severities: Mapping[str, int]
    """Severity -> issues."""
    checks: tuple[CheckTotal, ...]
    """Checks with findings, most important first."""
    clean: tuple[str, ...]
    """Names of checks that ran without findings, sorted."""
    notes: Mapping[str, str]
    """Check -> what it looked at and found absent, where it says so."""
    skipped: tuple[Skipped, ...]
    top: tuple[Top, ...]
    """The worst findings of at most `TOP` issues that are not decided, over all checks, worst first; at most `MOST_OF_A_CHECK` of a check if others
    have any."""
    health: float
    """Share of the listed images without an error or warning, 0..1."""
    decisions: DecisionTotals
    duplicates: Duplicates
    confused: tuple[ConfusedPair, ...]
    """At most `CONFUSED_PAIRS`, worst first."""
    leaving: Mapping[str, int]
    """Split -> images to remove for a clean split: those with leakage findings about copies."""
    seconds: float
    """Total time of all stages."""
    label_test: str | None
    """Outcome of the self-test of the label check, in sentences; None without predictions."""
    finished_at: str | None
    """When the scan finished, ISO 8601 in UTC; None for runs of older versions."""

    @property
    def skipped_for(self) -> Mapping[str, list[str]]:
        """Reason -> names of the checks skipped for it."""
        reasons: dict[str, list[str]] = {}
        for skipped in self.skipped:
            reasons.setdefault(skipped.reason, []).append(skipped.name)
        return reasons


def summarize(run: Run) -> Summary:
    """Compute the numbers of a finished run; messages and evidence are read only for the findings that are shown."""
    standing = Decisions(run.path).current()
    measured = precision(standing, run.findings_index)
    findings = ranked(run.findings_index, measured) if measured["decided"].any() else run.findings_index
    checks: Mapping[str, Mapping[str, Any]] = run.record.get("checks", {})
    of_check = {str(row["check"]): row for row in measured.to_dict("records")}
    listed = int(run.record["counts"]["listed"])
    groups = {str(name): group for name, group in findings.groupby("check", sort=False, observed=True)}
    every = issues(findings)
    first = issues(findings[~findings["finding_id"].isin(standing["finding_id"])])
    totals = []
    for name, group in groups.items():
        own = every[every["check"] == name]
        elsewhere = int((~group["issue_id"].isin(own["issue_id"])).sum())
        worst = _top(run, own.head(WORST_PER_CHECK) if len(own) else group.head(1))
        totals.append(_total(name, group, worst, (len(own), elsewhere), of_check[name], listed))
    found = {total.name for total in totals}
    copies = (findings["check"] == "leakage") & (findings["kind"] != "same_group")  # groups move, they are not removed
    leaks = findings.loc[copies, ["sample_id", "split"]].drop_duplicates("sample_id")
    return Summary(
        path=run.path,
        version=str(run.record.get("version", "")),
        source=run.record.get("source", {}),
        backbone=run.record.get("backbone") or {},
        counts=_counts(run, findings),
        findings=len(findings),
        issues=len(every),
        severities={severity: int((findings["severity"] == severity).sum()) for severity in reversed(SEVERITIES)},
        issue_severities={severity: int((every["severity"] == severity).sum()) for severity in reversed(SEVERITIES)},
        checks=tuple(sorted(totals, key=_rank)),
        clean=tuple(sorted(name for name, state in checks.items() if state.get("state") == "done" and name not in found)),
        notes={name: str(state["note"]) for name, state in sorted(checks.items()) if state.get("note")},
        skipped=tuple(
            Skipped(name, str(state.get("reason") or "no reason given")) for name, state in sorted(checks.items()) if state.get("state") == "skipped"
        ),
        top=_one_of_each(_top(run, _mixed(first)), {str(finding): at for at, finding in enumerate(first["finding_id"])}),
        health=_health(findings, listed)[1],
        decisions=_decisions(run, standing),
        duplicates=_duplicates(run),
        confused=_confused(run),
        leaving={str(split): int(count) for split, count in leaks["split"].value_counts().sort_index().items()},
        seconds=float(run.record.get("seconds", sum(run.record.get("timings", {}).values()))),
        label_test=self_test(run.record),
        finished_at=run.record.get("finished_at"),
    )


def ordered(run: Run) -> pd.DataFrame:
    """Return all columns of every finding, in the order of `Summary.top`, which depends on the decisions so far."""
    measured = precision(Decisions(run.path).current(), run.findings_index)
    return run.findings_page(precision=measured).rows


def examples(run: Run, check: str, limit: int) -> list[Top]:
    """Return the worst findings of one check, those of its worst issues first."""
    found = select(run.findings_index, {"check": check})
    first = ~found.duplicated("issue_id")
    return _top(run, pd.concat([found[first], found[~first]]).head(limit))


def _mixed(every: pd.DataFrame) -> pd.DataFrame:
    """Return the issues to choose the top ones from: at most `MOST_OF_A_CHECK` of each check first, errors and warnings before notes."""
    own = every.groupby("check", sort=False, observed=True).cumcount().to_numpy()
    late = np.where(own >= MOST_OF_A_CHECK, 2, (every["severity"] == "info").to_numpy())
    return every.iloc[np.argsort(late, kind="stable")[: TOP * _SIDES]]


def _one_of_each(findings: list[Top], rank: Mapping[str, int]) -> tuple[Top, ...]:
    """Return the first `TOP` findings, one per pair of images, worst first.

    Args:
        findings: the candidates.
        rank: finding id -> position in the order of importance.
    """
    kept: dict[frozenset[str], Top] = {}
    for finding in findings:
        partner = finding.evidence.get("partner")
        images = {finding.sample_id, partner} if isinstance(partner, str) and finding.sample_id else {finding.finding_id}
        kept.setdefault(frozenset(str(name) for name in images), finding)
    return tuple(sorted(list(kept.values())[:TOP], key=lambda finding: rank[finding.finding_id]))


def issue_list(run: Run) -> list[dict[str, Any]]:
    """Return every issue, worst first: the number and the ids of its findings, and the message of the worst."""
    index = run.findings_index
    ids = index.groupby("issue_id", sort=False)["finding_id"].agg(list)
    return [
        {
            **{name: getattr(entry, name) for name in ("issue_id", "check", "kind", "severity", "score", "message")},
            "images": int(images),
            "classes": int(classes),
            "groups": int(groups),
            "findings": ids[entry.issue_id],
        }
        for entry, images, classes, groups in zip(_top(run, run.issues), *(run.issues[name] for name in ("images", "classes", "groups")), strict=True)
    ]


def _health(findings: pd.DataFrame, listed: int) -> tuple[int, float]:
    """Return the number of images with an error or warning, and the share of the others."""
    flagged = int(findings.loc[findings["severity"] != "info", "sample_id"].nunique())
    return flagged, 1 - flagged / listed if listed else 1.0


def _decisions(run: Run, standing: pd.DataFrame) -> DecisionTotals:
    agreed = agreement(standing)
    settled = consensus_of_run(run, standing)["action"] if len(standing) else standing["verdict"]
    return DecisionTotals(
        decisions=len(standing),
        reviewers=tuple(sorted(standing["reviewer"].unique())),
        images={action: number for action in ACTIONS if (number := int((settled == action).sum()))},
        shared=agreed.subjects,
        disputed=agreed.disputed,
        alpha=agreed.alpha,
    )


def _duplicates(run: Run) -> Duplicates:
    if not (run.tables / "pairs.parquet").is_file():
        return Duplicates(0, 0, {})
    pairs = run.pairs
    grouped = pairs[pairs["group"] >= 0]
    number = pairs["relation"].value_counts()
    return Duplicates(
        groups=int(grouped["group"].nunique()),
        images=len(np.unique(grouped[["i", "j"]].to_numpy())),
        relations={relation: int(number[relation]) for relation in RELATIONS if relation in number.index},
    )


def _confused(run: Run) -> tuple[ConfusedPair, ...]:
    rows = run.findings_page({"check": "class_overlap", "kind": "confused_pair"}, limit=CONFUSED_PAIRS).rows
    pairs = []
    for row in rows.to_dict("records"):
        evidence = json.loads(row["evidence"])
        predicted = cell_value(row["suggested_label"]) or str(evidence.get("predicted", evidence.get("other", "")))
        share = float(evidence.get("share", row["score"]))
        pairs.append(ConfusedPair(str(row["finding_id"]), str(row["label"]), predicted, share, evidence.get("share_back"), str(row["message"])))
    return tuple(pairs)


def _rank(total: CheckTotal) -> tuple[int, bool, float, int, str]:
    worst = total.worst[0]
    return -SEVERITIES.index(worst.severity), total.name not in MOST_CERTAIN, -worst.score, -total.findings, total.name


def _total(name: str, group: pd.DataFrame, worst: list[Top], counted: tuple[int, int], measured: Mapping[Any, Any], listed: int) -> CheckTotal:
    severities = group["severity"].value_counts()
    flagged, health = _health(group, listed)
    whole = group[group["sample_id"].isna() & (group["severity"] != "info")]
    decided = int(measured["decided"])
    share = float(measured["precision"]) if decided else None
    return CheckTotal(
        name=name,
        findings=len(group),
        issues=counted[0],
        elsewhere=counted[1],
        severities={severity: int(severities[severity]) for severity in reversed(SEVERITIES) if severity in severities.index},
        kinds={str(kind): int(count) for kind, count in group["kind"].value_counts().items()},
        worst=tuple(worst),
        flagged=flagged,
        health=health,
        classes=int(whole["label"].nunique()),
        groups=int((whole["subject"] == "group").sum()),
        dataset=int((whole["subject"] == "dataset").sum()),
        precision=Precision(decided, int(measured["right"]), share, float(measured["low"]), float(measured["high"])),
    )


def _top(run: Run, chosen: pd.DataFrame) -> list[Top]:
    """Read findings or issues, rows of `Run.findings_index` or of `audit.run.issues.issues`."""
    counts = [chosen[name].tolist() if name in chosen else [1] * len(chosen) for name in ("findings", "images", "classes", "groups")]
    found = pd.Series(list(zip(*counts, strict=True)), dtype=object)
    rows = run.read_findings(chosen).assign(issue_id=chosen["issue_id"].to_numpy(object), alike=found)
    return [
        Top(
            finding_id=str(row["finding_id"]),
            issue_id=str(row["issue_id"]),
            alike=int(row["alike"][0]),
            check=str(row["check"]),
            kind=str(row["kind"]),
            subject=str(row["subject"]),
            severity=str(row["severity"]),
            score=round(float(row["score"]), 6),
            sample_id=cell_value(row["sample_id"]),
            content_id=cell_value(row["content_id"]),
            split=cell_value(row["split"]),
            label=cell_value(row["label"]),
            suggested_label=cell_value(row["suggested_label"]),
            message=alike(*row["alike"]) + str(row["message"]),
            evidence=json.loads(row["evidence"]),
        )
        for row in rows.to_dict("records")
    ]


def _counts(run: Run, findings: pd.DataFrame) -> Counts:
    counts: Mapping[str, Any] = run.record["counts"]
    samples = run.columns("split", "label", "labels")
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

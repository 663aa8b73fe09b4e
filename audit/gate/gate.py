"""Hold a run against a policy: which limits and requirements pass, fail, or cannot be judged, each with its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.checks import discover
from audit.diff.comparison import Difference, FindingsDifference
from audit.diff.finding_matching import causes
from audit.errors import ConfigError, nearest
from audit.gate.limits import LOOK_AT_FILES, judge_limit
from audit.gate.policy import TOTAL, Policy
from audit.gate.requirements import requirement
from audit.gate.verdict import FAILED, NO_BASELINE, NOT_JUDGED, PASSED, UNKNOWN, Verdict
from audit.gate.waivers import Waived
from audit.sources.storage.problems import NOT_LISTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from audit.diff.sample_changes import SampleChanges
    from audit.run.run import Run

_SHOWN = 5
"""Samples named of each kind of change."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A run held against a policy."""

    run: str
    """Its directory; empty where it was a temporary one."""
    source: str
    """Where the dataset is: as it was given to the scan, for people."""
    place: str
    """The same as an absolute path or URL."""
    version: str
    """Of the program that made the run."""
    policy: str
    """The policy's file."""
    verdicts: tuple[Verdict, ...]
    findings: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``, and ``state``: new, persisting, or None without a baseline; ``waived`` and
    ``counted`` (bool): not waived, and about what changed since the lock where there is one."""
    waived: Waived
    notes: tuple[str, ...]
    difference: Difference | FindingsDifference | None = None
    """From the baseline to the run; None without a baseline."""
    root: Path = Path()
    """The repository: reports name images and the policy relative to it, where they lie below it."""
    since: SampleChanges | None = None
    """What changed since the lock, and what alone counts; None without one."""
    lock: str = ""
    """The lock's file."""

    @property
    def outcome(self) -> str:
        """`PASSED`; `FAILED` where a rule failed; else `UNKNOWN` where one is unknown."""
        states = {verdict.state for verdict in self.verdicts}
        return next((state for state in (FAILED, UNKNOWN) if state in states), PASSED)

    @property
    def exit_code(self) -> int:
        """What the check command ends with: 0 the policy is held, 1 it is not, 2 that could not be found out."""
        return (PASSED, FAILED, UNKNOWN).index(self.outcome)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The rules that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.state == FAILED)

    @property
    def against(self) -> tuple[Verdict, ...]:
        """The rules for which the version does not pass: failed and unknown ones."""
        return tuple(verdict for verdict in self.verdicts if verdict.state in (FAILED, UNKNOWN))

    def told(self) -> str:
        """Say how many rules there are of each state: ``2 of 6 rules failed, 1 not judged``."""
        number = Counter(verdict.state for verdict in self.verdicts)
        told = f"{number[self.outcome]:,} of {len(self.verdicts):,} rule{'s' * (len(self.verdicts) != 1)} {self.outcome}"
        return told + "".join(f", {number[state]:,} {state}" for state in (UNKNOWN, NOT_JUDGED) if number[state] and state != self.outcome)

    def said(self) -> Iterator[str]:
        """Yield what a person should know beside the verdicts: the change, waivers that do not hold, what limits the comparison."""
        if self.since is not None:
            yield from _said_of(self.since, self.lock)
        for word, waivers in (("has expired", self.waived.expired), ("matches no finding", self.waived.unmatched)):
            for waiver in waivers:
                yield f"the waiver of {waiver.finding} by {waiver.owner} {word}: {waiver.reason}"
        yield from self.notes


def judge(
    run: Run,
    policy: Policy,
    waived: Waived,
    difference: Difference | FindingsDifference | None,
    root: Path = Path(),
    *,
    since: SampleChanges | None = None,
    lock: str = "",
    first_run: bool = False,
) -> Gate:
    """Hold a run against a policy.

    Args:
        run: the version in question.
        policy: as read.
        waived: findings that do not count.
        difference: from the baseline to the run; None where there is no baseline.
        root: the repository, for paths in reports; the working directory by default.
        since: what changed since a lock was written; only findings about that count.
        lock: the lock's file.
        first_run: there may be no baseline yet: where none of the rules can be judged for that, the version passes.
    """
    _refuse_unknown_scopes(run, policy)
    _refuse_unknown_kinds(run, policy)
    findings = run.findings.assign(state=None, cause=None)
    if difference is not None:
        seen = difference.findings[difference.findings["state"] != "fixed"].set_index("finding_id")
        findings["state"] = findings["finding_id"].map(seen["state"])
        findings["cause"] = findings["finding_id"].map(seen["cause"])
    findings["waived"] = findings["finding_id"].isin(waived.ids)
    findings["counted"] = ~findings["waived"] & (True if since is None else _touched(findings, since))
    counting = findings[findings["counted"]]
    verdicts = [replace(judge_limit(limit, run, counting, difference, since, policy.confidence), line=limit.line) for limit in policy.limits]
    required = (requirement(name, wanted, run, difference, waived) for name, wanted in policy.require.items())
    verdicts += [replace(verdict, line=policy.lines.get(name, 1)) for name, verdict in zip(policy.require, required, strict=True)]
    if not any(verdict.state in (PASSED, FAILED) for verdict in verdicts):
        verdicts = [_nothing_known(verdict, first_run=first_run) for verdict in verdicts]
    notes = [] if "readable" in policy.require else [*run.not_listed, *_unread(run, policy)]
    notes += [] if difference is None else [*difference.warnings, *(f"{name}: {why}" for name, why in difference.not_compared.items())]
    silent = sorted(name for name in discover() if run.record.get("checks", {}).get(name, {}).get("state") != "done")
    if silent and any(limit.check == TOTAL for limit in policy.limits):
        notes.append(f"limits on findings of all checks tell nothing of those that did not run: {', '.join(silent)}")
    source = run.record.get("source", {})
    location = str(source.get("location", ""))
    return Gate(
        run=str(run.path),
        source=location,
        place=str(source.get("absolute", location)),
        version=str(run.record.get("version", "")),
        policy=policy.path,
        verdicts=tuple(verdicts),
        findings=findings,
        waived=waived,
        notes=tuple(notes),
        difference=difference,
        root=root,
        since=since,
        lock=lock,
    )


def _nothing_known(verdict: Verdict, *, first_run: bool) -> Verdict:
    """Return what a rule that is not judged comes to where none was: a version of which nothing is known does not pass."""
    missing = verdict.message == NO_BASELINE
    if verdict.state != NOT_JUDGED or (missing and first_run):
        return verdict
    hint = "name one with --baseline, or add --first-run where there is none yet" if missing else "add one that can be, such as require.readable"
    return replace(verdict, state=UNKNOWN, message=f"{verdict.message}, and no rule of the policy could be judged: {hint}")


def _unread(run: Run, policy: Policy) -> Iterator[str]:
    """Say how many images most checks are blind to, where no limit would count them."""
    failed = run.record["counts"]["failed"]
    if failed and not any(limit.check in (TOTAL, *LOOK_AT_FILES) for limit in policy.limits):
        yield f"{failed:,} of {len(run):,} images could not be read, and no rule looks at them: require readable, or limit integrity"


def _refuse_unknown_scopes(run: Run, policy: Policy) -> None:
    """A limit on a class or a split that the dataset does not have would pass for ever."""
    scoped = {name for limit in policy.limits for name in limit.scope if name in ("class", "split")}
    if not scoped:
        return
    samples = run.columns("label", "labels", "split")
    known = {"split": {*samples["split"].dropna()}, "class": {*samples["label"].dropna(), *samples["labels"].dropna().explode().dropna()}}
    for limit in policy.limits:
        for name in scoped & limit.scope.keys():
            if limit.scope[name] not in known[name]:
                hint = nearest(limit.scope[name], known[name]) if known[name] else "leave it out"
                raise ConfigError(f"{policy.path}:{limit.line}: {limit.name}", f"the dataset has no {name} {limit.scope[name]!r}", hint)


def _refuse_unknown_kinds(run: Run, policy: Policy) -> None:
    """A limit on a kind that its check never finds would pass for ever; checks that do not say which they find may find any."""
    checks, found = discover(), run.findings_index
    for limit in policy.limits:
        wanted = limit.scope.get("kind")
        names = [*checks] if limit.check == TOTAL else [limit.check] if limit.check in checks else []
        if wanted is None or not all(checks[name].kinds for name in names):
            continue
        known = {kind for name in names for kind in checks[name].kinds} | {*found["kind"][found["check"].isin(names)]}
        if not any(fnmatchcase(wanted, kind) for kind in known):
            place = f"{policy.path}:{limit.line}: {limit.name}"
            raise ConfigError(place, f"{'no check' if limit.check == TOTAL else limit.check} finds the kind {wanted!r}", nearest(wanted, known))


def _touched(findings: pd.DataFrame, since: SampleChanges) -> npt.NDArray[np.bool_]:
    """Return which findings are about images that are new or have another place or label, verified against one, or about a class that is new.

    Images that could not be listed may be any: that finding is always one.
    """
    of_image = causes(findings, since.samples, "new_id") != "context"
    of_class = findings["sample_id"].isna() & findings["label"].isin(since.classes_added)
    return np.asarray(of_image | of_class.to_numpy() | (findings["kind"] == NOT_LISTED).to_numpy(), bool)


def _said_of(since: SampleChanges, lock: str) -> Iterator[str]:
    from audit.diff.text import change_lines

    yield f"only findings about what changed since {lock} count"
    yield from (line.strip() for line in change_lines(since, _SHOWN, unlisted=("added",)))

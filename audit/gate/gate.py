"""Check a run against a policy: the state of each limit and requirement, with its figures."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.checks import discover
from audit.diff.comparison import Difference, FindingsDifference
from audit.diff.finding_matching import causes
from audit.diff.sample_changes import MORE_THAN_NAMES
from audit.errors import ConfigError, nearest
from audit.gate.changes import counts, judge_changes
from audit.gate.limits import FILE_CHECKS, changes_of, judge_limit
from audit.gate.policy import TOTAL, Policy
from audit.gate.requirements import requirement
from audit.gate.verdict import FAILED, NO_BASELINE, NOT_JUDGED, PASSED, UNKNOWN, Verdict
from audit.gate.waivers import Waived
from audit.run.record import as_json
from audit.sources.storage.problems import NOT_LISTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from audit.diff.sample_changes import SampleChanges
    from audit.run.run import Run

_SHOWN = 5
"""Samples listed per kind of change."""

_WEAKENING = ("min_precision", "max_pixels", "max_bytes", "seconds_per_image", "neighbors", "predictions", "only", "skip")
"""Scan options whose values other than the default may hide findings, in addition to those of the source and of checks."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Result of checking a run against a policy."""

    run: str
    """Run directory; empty if it was a temporary one."""
    source: str
    """Path or URL of the dataset as given to the scan, for display."""
    location: str
    """Absolute path or URL of the dataset."""
    version: str
    """Version of imagenet-audit that made the run."""
    policy: str
    """Path of the policy."""
    verdicts: tuple[Verdict, ...]
    findings: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``; ``file``: the image that reports point at; ``state``: new, persisting, or None without a baseline;
    ``waived`` (bool); ``counted`` (bool): not waived and, with a lock, about a change since the lock."""
    waived: Waived
    notes: tuple[str, ...]
    difference: Difference | FindingsDifference | None = None
    """Difference from the baseline to the run; None without a baseline."""
    root: Path = Path()
    """Repository folder; reports name images and the policy relative to it if they are inside."""
    since: SampleChanges | None = None
    """Changes since the lock; only findings about them count. None without a lock."""
    lock: str = ""
    """Path of the lock."""

    @property
    def outcome(self) -> str:
        """`FAILED` if a rule failed, else `UNKNOWN` if a rule is unknown, else `PASSED`."""
        states = {verdict.state for verdict in self.verdicts}
        return next((state for state in (FAILED, UNKNOWN) if state in states), PASSED)

    @property
    def exit_code(self) -> int:
        """Exit code of the check command: 0 passed, 1 failed, 2 undetermined."""
        return (PASSED, FAILED, UNKNOWN).index(self.outcome)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The rules that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.state == FAILED)

    @property
    def blocking(self) -> tuple[Verdict, ...]:
        """The rules that keep the version from passing: failed and unknown ones."""
        return tuple(verdict for verdict in self.verdicts if verdict.state in (FAILED, UNKNOWN))

    def summary(self) -> str:
        """Return the number of rules per state: ``2 of 6 rules failed, 1 not judged``."""
        number = Counter(verdict.state for verdict in self.verdicts)
        first = f"{number[self.outcome]:,} of {len(self.verdicts):,} rule{'s' * (len(self.verdicts) != 1)} {self.outcome}"
        return first + "".join(f", {number[state]:,} {state}" for state in (UNKNOWN, NOT_JUDGED) if number[state] and state != self.outcome)

    def remarks(self) -> Iterator[str]:
        """Yield the notes for people: changes since the lock, invalid waivers, limits of the comparison."""
        changes = self.since or changes_of(self.difference)
        if changes is not None:
            from audit.diff.text import change_lines

            yield f"only findings about changes since {self.lock} count" if self.since is not None else "changes from the baseline:"
            yield from (line.strip() for line in change_lines(changes, _SHOWN, unlisted=("added", "renamed")))
            for change in ("removed", "moved"):
                by_split = counts(changes, change).groupby("split")[["changed", "images"]].sum()
                rows = by_split[by_split["changed"] > 0].reset_index().to_dict("records")
                parts = [f"{row['changed']:,} of {row['images']:,} in {row['split'] or 'no split'}" for row in rows]
                yield from [f"{change}: {', '.join(parts)}"] * bool(parts)
        for problem, waivers in (("has expired", self.waived.expired), ("matches no finding", self.waived.unmatched)):
            for waiver in waivers:
                yield f"waiver for {waiver.finding} (owner: {waiver.owner}) {problem}: {waiver.reason}"
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
    """Check a run against a policy.

    Args:
        run: the version to check.
        policy: as read.
        waived: findings that do not count.
        difference: from the baseline to the run; None without a baseline.
        root: repository folder, for paths in reports; the working directory by default.
        since: changes since the lock; only findings about them count. None without a lock.
        lock: path of the lock.
        first_run: pass even if no rule can be judged, provided that the only reason is a missing baseline.

    Raises:
        ConfigError: a limit names a class, split or kind that does not exist.
    """
    _refuse_unknown_scopes(run, policy)
    _refuse_unknown_kinds(run, policy)
    findings = run.findings.assign(state=None, cause=None)
    if difference is not None:
        seen = difference.findings[difference.findings["state"] != "fixed"].set_index("finding_id")
        findings["state"] = findings["finding_id"].map(seen["state"])
        findings["cause"] = findings["finding_id"].map(seen["cause"])
    findings["file"] = _files(findings, since or changes_of(difference))
    findings["waived"] = findings["finding_id"].isin(waived.ids)
    findings["counted"] = ~findings["waived"] & (True if since is None else _touched(findings, since))
    counting = findings[findings["counted"]]
    verdicts = [replace(judge_limit(limit, run, counting, difference, since, policy.confidence), line=limit.line) for limit in policy.limits]
    required = (requirement(name, wanted, run, difference, waived) for name, wanted in policy.require.items())
    changes = since or changes_of(difference)
    verdicts += [replace(judge_changes(limit, changes, of_report=difference is not None), line=limit.line) for limit in policy.changes]
    verdicts += [replace(verdict, line=policy.lines.get(name, 1)) for name, verdict in zip(policy.require, required, strict=True)]
    if not any(verdict.state in (PASSED, FAILED) for verdict in verdicts):
        verdicts = [_nothing_judged(verdict, first_run=first_run) for verdict in verdicts]
    notes = [] if "readable" in policy.require else [*run.not_listed, *_unread(run, policy)]
    notes += weakening(run)
    notes += [] if difference is None else [*difference.warnings, *(f"{name}: {why}" for name, why in difference.not_compared.items())]
    not_run = sorted(name for name in discover() if run.record.get("checks", {}).get(name, {}).get("state") != "done")
    if not_run and any(limit.check == TOTAL for limit in policy.limits):
        notes.append(f"limits on all checks do not cover checks that did not run: {', '.join(not_run)}")
    source = run.record.get("source", {})
    location = str(source.get("location", ""))
    return Gate(
        run=str(run.path),
        source=location,
        location=str(source.get("absolute", location)),
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


def weakening(run: Run) -> Iterator[str]:
    """Yield a note about scan options that may hide findings: ``audit.toml`` is stored next to the dataset and may come with the change."""
    from audit.config import ScanOptions

    given, usual = run.record.get("options", {}), as_json(asdict(ScanOptions()))
    found = {name: value for name, value in given.items() if name in _WEAKENING and value != usual.get(name)}
    found |= {f"source.{name}": value for name, value in given.get("source", {}).items() if value != usual["source"].get(name)}
    found |= {f"checks.{check}.{name}": value for check, options in given.get("checks", {}).items() for name, value in _changed(check, options)}
    if found:
        yield "the scan used options that may hide findings: " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in sorted(found.items()))


def _changed(check: str, options: Any) -> Iterator[tuple[str, Any]]:
    from audit.config import check_options

    known = discover().get(check)
    usual = check_options(known.options) if known is not None else {}
    for name, value in options.items() if isinstance(options, dict) else ():
        if name not in usual or value != as_json(usual[name]):
            yield name, value


def _nothing_judged(verdict: Verdict, *, first_run: bool) -> Verdict:
    """Turn a rule that is not judged into an unknown one, if no rule was judged: a version that nothing is known about must not pass."""
    missing = verdict.message == NO_BASELINE
    if verdict.state != NOT_JUDGED or (missing and first_run):
        return verdict
    hint = "pass --baseline, or --first-run if there is none yet" if missing else "add a rule that can be, such as require.readable"
    return replace(verdict, state=UNKNOWN, message=f"{verdict.message}, and no rule of the policy could be judged: {hint}")


def _unread(run: Run, policy: Policy) -> Iterator[str]:
    """Yield a note about unreadable images, if no limit covers them."""
    failed = run.record["counts"]["failed"]
    if failed and not any(limit.check in (TOTAL, *FILE_CHECKS) for limit in policy.limits):
        yield f"{failed:,} of {len(run):,} images could not be read, and no rule covers them: add require.readable or a limit on integrity"


def _refuse_unknown_scopes(run: Run, policy: Policy) -> None:
    """Refuse limits on classes or splits that the dataset does not have: they would always pass."""
    scoped = {name for limit in policy.limits for name in limit.scope if name in ("class", "split")}
    if not scoped:
        return
    samples = run.columns("label", "labels", "split")
    known = {"split": {*samples["split"].dropna()}, "class": {*samples["label"].dropna(), *samples["labels"].dropna().explode().dropna()}}
    for limit in policy.limits:
        for name in scoped & limit.scope.keys():
            if limit.scope[name] not in known[name]:
                hint = nearest(limit.scope[name], known[name]) if known[name] else "omit it"
                raise ConfigError(f"{policy.path}:{limit.line}: {limit.name}", f"the dataset has no {name} {limit.scope[name]!r}", hint)


def _refuse_unknown_kinds(run: Run, policy: Policy) -> None:
    """Refuse limits on kinds that their check never reports: they would always pass. Checks that declare no kinds may report any."""
    checks, found = discover(), run.findings_index
    for limit in policy.limits:
        wanted = limit.scope.get("kind")
        names = [*checks] if limit.check == TOTAL else [limit.check] if limit.check in checks else []
        if wanted is None or not all(checks[name].kinds for name in names):
            continue
        known = {kind for name in names for kind in checks[name].kinds} | {*found["kind"][found["check"].isin(names)]}
        if not any(fnmatchcase(wanted, kind) for kind in known):
            where = f"{policy.path}:{limit.line}: {limit.name}"
            reporter = "no check reports" if limit.check == TOTAL else f"{limit.check} never reports"
            raise ConfigError(where, f"{reporter} kind {wanted!r}", nearest(wanted, known))


def _files(findings: pd.DataFrame, changes: SampleChanges | None) -> npt.NDArray[np.object_]:
    """Return the image that a report points at: the one that changed, if a finding is about an unchanged image and its changed partner."""
    found = findings["sample_id"].to_numpy(object, copy=True)
    if changes is not None:
        changed = {*changes.samples.loc[changes.samples[[*MORE_THAN_NAMES]].any(axis=1), "new_id"].dropna()}
        for at, evidence in enumerate(findings["evidence"]):
            partner = json.loads(evidence).get("partner")
            if found[at] not in changed and partner in changed:
                found[at] = partner
    return found


def _touched(findings: pd.DataFrame, since: SampleChanges) -> npt.NDArray[np.bool_]:
    """Return which findings are about a change: an image that was added, moved or relabelled, a pair with one, or a new class.

    A finding about files that could not be listed always counts, because any image may be among them.
    """
    of_image = causes(findings, since.samples, "new_id") != "context"
    of_class = findings["sample_id"].isna() & findings["label"].isin(since.classes_added)
    return np.asarray(of_image | of_class.to_numpy() | (findings["kind"] == NOT_LISTED).to_numpy(), bool)

"""Compare findings with a policy's limits: a maximum count, or a maximum share of the images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.diff.comparison import Difference, FindingsDifference
from audit.diff.sample_changes import MORE_THAN_NAMES, SampleChanges
from audit.gate.policy import TOTAL, Limit
from audit.gate.verdict import FAILED, NO_BASELINE, NOT_JUDGED, PASSED, UNKNOWN, Verdict
from audit.io.console import counted
from audit.sources.storage.problems import NOT_LISTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from audit.run.run import Run

FILE_CHECKS = ("integrity", "listing")
"""Checks that report unreadable images; all others ignore them."""


def judge_limit(
    limit: Limit, run: Run, findings: pd.DataFrame, difference: Difference | FindingsDifference | None, since: SampleChanges | None, confidence: float
) -> Verdict:
    """Judge one limit of a policy.

    Args:
        limit: as read.
        run: the version to check.
        findings: findings that count; columns of ``audit.tables.FINDINGS``, ``state`` and ``cause``.
        difference: from the baseline to the run; None without a baseline.
        since: changes since the lock; None without a lock.
        confidence: a rate fails if it exceeds its limit with this confidence.
    """
    unable = _unable(limit, run, difference, since)
    if unable is not None:
        return unable
    chosen = findings
    if limit.check != TOTAL:
        chosen = chosen[chosen["check"] == limit.check]
    kinds, nowhere = sorted(chosen["kind"].unique()), 0
    for name, wanted in sorted(limit.scope.items(), key=lambda scope: scope[0] == "split"):  # split last: findings without one are reported
        nowhere = int(chosen["split"].isna().sum()) if name == "split" else 0
        chosen = chosen[_of_class(chosen, run, wanted) if name == "class" else chosen[name] == wanted]
    state, unknown = PASSED, 0
    parts = [f"not counted: {counted(nowhere, 'finding')} without a split"] if nowhere else []
    if limit.new and difference is not None:
        unknown, chosen = int(chosen["state"].isna().sum()), chosen[chosen["state"] == "new"]
        ours = _caused_by_change(chosen, difference)
        others, chosen = int((~ours & chosen["sample_id"].isna()).sum()), chosen[ours]
        parts += [f"not counted: {counted(others, 'new finding')} not about single images, possibly caused by refitted models"] if others else []
    if limit.count is not None:
        parts.append(f"{counted(len(chosen), 'finding')}, limit {limit.count:,}")
        state = FAILED if len(chosen) > limit.count else state
    if limit.rate is not None:
        judged, figures = _share(limit, limit.rate, run, chosen, since, confidence)
        parts.append(figures)
        if judged == NOT_JUDGED and limit.count is None:
            return _undetermined(limit, figures)
        state = judged if judged == FAILED or limit.count is None else state
    if limit.new and difference is not None and state == PASSED and (unknown or limit.check in difference.not_compared):
        why_not = f"{counted(unknown, 'finding')} cannot be compared with the baseline"
        return _undetermined(limit, difference.not_compared.get(limit.check, why_not))
    if "kind" in limit.scope and limit.scope["kind"] not in kinds:
        parts.append(f"no finding has kind {limit.scope['kind']!r}; kinds found: {', '.join(kinds) or 'none'}")
    return Verdict(limit.name, state, "; ".join(parts), tuple(chosen["finding_id"]) if state == FAILED else ())


def _undetermined(limit: Limit, reason: str) -> Verdict:
    """Return the verdict of a limit that cannot be judged. It is skipped only if the policy says so: files next to the data may be the reason."""
    if limit.optional:
        return Verdict(limit.name, NOT_JUDGED, reason)
    return Verdict(limit.name, UNKNOWN, f"{reason}; if this is expected, add optional = true to the limit")


def rate_interval(flagged: int, images: int, confidence: float) -> tuple[float, float]:
    """Return the one-sided Clopper-Pearson bounds of a share (Clopper and Pearson, Biometrika 1934)."""
    from scipy.stats import beta

    low = 0.0 if flagged == 0 else float(beta.ppf(1 - confidence, flagged, images - flagged + 1))
    high = 1.0 if flagged == images else float(beta.ppf(confidence, flagged + 1, images - flagged))
    return low, high


def _caused_by_change(new: pd.DataFrame, difference: Difference | FindingsDifference) -> pd.Series[bool]:
    """Return which new findings come from changed images, and not from refitted models on unchanged ones.

    A finding about a class or the whole dataset counts if anything changed and its check needs no predictions. A finding about files that could not
    be listed always counts.
    """
    ours = (new["cause"] != "context") | (new["kind"] == NOT_LISTED)
    changes = changes_of(difference)
    if changes is not None and any(changes.counts[change] for change in MORE_THAN_NAMES):
        from audit.checks import discover

        fitted = [name for name, check in discover().items() if {"predictions", "label_quality"} & {*check.needs}]
        ours |= new["sample_id"].isna() & ~new["check"].isin(fitted)
    return ours


def changes_of(difference: Difference | FindingsDifference | None) -> SampleChanges | None:
    """Return the changes of the images since the baseline; None if they are unknown."""
    return difference.changes if isinstance(difference, FindingsDifference) else difference


def _share(limit: Limit, most: float, run: Run, chosen: pd.DataFrame, since: SampleChanges | None, confidence: float) -> tuple[str, str]:
    """Compare the share of images with a finding with its limit; return the state and the figures."""
    changed = None if since is None else _changed(since, len(run))
    found = _flagged(chosen, run, changed)
    flagged, images = int(found.sum()), int((_judged(limit, run, changed) | found).sum())
    others = int(chosen["sample_id"].isna().sum())
    if others and not flagged:
        verb = "is" if others == 1 else "are"
        return NOT_JUDGED, f"{counted(others, 'finding')} {verb} not about single images, so a rate is undefined; limit their `count` instead"
    if not images and changed is None:
        return NOT_JUDGED, f"{limit.check} applies to no image of this dataset, so a rate is undefined"
    low, high = rate_interval(flagged, images, confidence) if images else (0.0, 1.0)
    figures = f"{flagged:,} of {images:,} images ({flagged / max(images, 1):.2%}, {low:.2%} to {high:.2%}), limit {most:.2%}"
    figures += f"; {counted(others, 'more finding')} not about single images" if others else ""
    if low > most:
        return FAILED, figures
    return PASSED, figures + ("; above the limit, but not significantly" if flagged > most * images else "")


def _changed(since: SampleChanges, images: int) -> npt.NDArray[np.bool_]:
    """Return which images were added, or have other bytes, another split or another label."""
    changed = np.zeros(images, bool)
    rows = since.samples.loc[since.samples[[*MORE_THAN_NAMES]].any(axis=1), "new_row"]
    changed[rows[rows >= 0]] = True
    return changed


def _flagged(chosen: pd.DataFrame, run: Run, changed: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    """Return the images with a finding. With ``changed``, a finding about an unchanged image counts for its partner."""
    about = chosen[chosen["sample_id"].notna()]
    rows = run.rows_of(about["sample_id"].tolist())
    if changed is not None:
        partners = [json.loads(evidence).get("partner") for evidence in about["evidence"]]
        rows = np.where(changed[rows], rows, run.rows_of([str(partner) for partner in partners]))
    found = np.zeros(len(run), bool)
    found[rows[rows >= 0]] = True
    return found


def _of_class(findings: pd.DataFrame, run: Run, wanted: str) -> npt.NDArray[np.bool_]:
    """Return which findings are about a class or about an image with its label, alone or among several."""
    found = (findings["label"] == wanted).to_numpy(bool, copy=True)
    several = findings["sample_id"].notna().to_numpy(bool) & findings["label"].isna().to_numpy(bool)
    found[several] = _labelled(run, wanted)[run.rows_of(findings["sample_id"][several].tolist())]
    return found


def _labelled(run: Run, wanted: str) -> npt.NDArray[np.bool_]:
    """Return which images have a label, alone or among several."""
    samples = run.columns("label", "labels")
    several = samples["labels"].map(lambda labels: wanted in labels, na_action="ignore").eq(other=True)
    return np.asarray((samples["label"] == wanted) | several, bool)


def _unable(limit: Limit, run: Run, difference: Difference | FindingsDifference | None, since: SampleChanges | None) -> Verdict | None:
    """Return the verdict of a limit that cannot be judged, else None.

    A check that the scan excluded makes its limit unknown: ``audit.toml`` is stored next to the dataset, so a change of the data could exclude it.
    """
    options, state = run.record.get("options", {}), None if limit.check == TOTAL else run.record.get("checks", {}).get(limit.check)
    missing = limit.check if limit.check != TOTAL and state is None else None
    if limit.check == TOTAL and difference is not None:
        missing = next(iter(difference.left_out), None)
    if missing is not None:
        problem = _excluded(missing, options) + ("; the baseline's scan included it" if limit.check == TOTAL else "")
        return Verdict(limit.name, UNKNOWN, problem)
    if limit.check == "faces" and state is not None and state["state"] != "done" and not options.get("faces"):
        problem = "face detection was off: set faces = true in audit.toml (--faces), or remove the limit from the policy"
        return Verdict(limit.name, UNKNOWN, problem)
    if limit.check not in (TOTAL, *FILE_CHECKS) and len(run) and not run.record["counts"]["scanned"]:
        return Verdict(limit.name, UNKNOWN, f"no image could be read, so {limit.check} examined none: see the findings of integrity")
    if limit.new and difference is None and since is None:
        return Verdict(limit.name, NOT_JUDGED, NO_BASELINE)
    return None if state is None or state["state"] == "done" else _undetermined(limit, f"{limit.check} did not run: {state['reason']}")


def _excluded(check: str, options: Mapping[str, Any]) -> str:
    if check in options.get("skip", ()):
        return f"the scan skipped {check}: remove it from skip in audit.toml (--skip), or remove the limit from the policy"
    if options.get("only"):
        return f"the scan did not include {check}: add it to only in audit.toml (--only), or remove the limit from the policy"
    return f"the run was made by a version without the check {check}: scan again"


def _judged(limit: Limit, run: Run, changed: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    """Return the images that the check applies to, within the limit's split and class and, with ``changed``, among the changed ones."""
    inside = np.ones(len(run), bool) if limit.check == TOTAL else np.isfinite(run.scores(limit.check))
    if "split" in limit.scope:
        inside &= (run.columns("split")["split"] == limit.scope["split"]).to_numpy(bool)
    if "class" in limit.scope:
        inside &= _labelled(run, limit.scope["class"])
    return inside if changed is None else inside & changed

"""Compare two dataset versions by content: samples, findings, health and drift.

A renamed file is the same sample. A class or split that was renamed as a whole is the same class or split: its images are renamed, not relabelled,
and its findings persist.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.diff.drift import Drift, embedding_drift
from audit.diff.finding_matching import causes, match_findings
from audit.diff.hysteresis import with_hysteresis
from audit.diff.sample_changes import COLUMNS, SampleChanges, one_label, sample_changes
from audit.diff.sample_matching import match
from audit.tables import FINDINGS

if TYPE_CHECKING:
    from audit.gate.baseline import KnownFindings
    from audit.run.run import Run

STATES = ("new", "fixed", "persisting")

CAUSES = ("added", "removed", "changed", "moved", "relabelled", "context")
"""Why a finding is new or fixed: the change of its image or of the image it was verified against; ``context`` if both are unchanged, and other images
or the fitted models changed."""

_MODEL_FREE = frozenset({"samples", "thumbnails", "faces", "classes", "class_words", "taxonomy", "listing_problems"})
"""Tables that do not depend on an image model."""

_CERTAIN_KINDS = ("identical_bytes", "identical_pixels")
"""Kinds of findings that do not depend on the model."""

_CLASS_DRIFT = ["label", "shift", "old_images", "new_images"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(SampleChanges):
    """Difference between two versions of a dataset."""

    old: str
    new: str
    findings: pd.DataFrame
    """Columns of ``audit.tables.FINDINGS``, ``state`` (of `STATES`) and ``cause`` (of `CAUSES`; None for a persisting one). Fixed findings are those
    of the old version, others those of the new one."""
    not_compared: Mapping[str, str]
    """Check -> why its findings are not compared, or only in part."""
    left_out: tuple[str, ...]
    """Checks that ran on the old version and were excluded from the new version's scan."""
    health: pd.DataFrame
    """``part`` (all, check, class), ``name``, and ``images, flagged, rate`` of both versions (``images_old``, ...): the share of images with a
    warning or an error."""
    drift: Drift | None
    """Drift of all embeddings; None if they come from different models."""
    class_drift: pd.DataFrame
    """``label, shift, old_images, new_images``, the largest shift first; empty without ``drift``."""
    warnings: tuple[str, ...]
    """Limitations of the comparison."""


@dataclass(frozen=True, slots=True)
class FindingsDifference:
    """Difference from a previous version of which only the findings and maybe the images' digests are known. Fields as in `Difference`."""

    findings: pd.DataFrame
    not_compared: Mapping[str, str]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: SampleChanges | None = None
    """Changes of the images; None if their digests are unknown: then the cause of every finding is None."""


def compare_findings(old: KnownFindings, new: Run, changes: SampleChanges | None = None) -> FindingsDifference:
    """Compare the run of a version with the findings of the previous one and, if known, the changes of its images."""
    found = _compare_findings(old, new, None if changes is None else changes.samples, {} if changes is None else changes.renamed_classes)
    return dataclasses.replace(found, changes=changes)


def compare(old: Run, new: Run) -> Difference:
    """Compare the runs of two versions of a dataset."""
    before, after = (one_label(run.columns(*COLUMNS)) for run in (old, new))
    changes = sample_changes(before, after, match(before, after))
    classes = changes.renamed_classes
    found = _compare_findings(old, new, changes.samples, classes)
    same_model = _model(old) == _model(new)
    return Difference(
        old=str(old.path),
        new=str(new.path),
        **{field.name: getattr(changes, field.name) for field in dataclasses.fields(changes)},
        findings=found.findings,
        not_compared=found.not_compared,
        left_out=found.left_out,
        health=_health(old, new, before, after, classes),
        drift=embedding_drift(old.embeddings, new.embeddings) if same_model else None,
        class_drift=_class_drift(old, new, before, after, classes) if same_model else pd.DataFrame(columns=_CLASS_DRIFT),
        warnings=found.warnings,
    )


def _compare_findings(old: Run | KnownFindings, new: Run, samples: pd.DataFrame | None, classes: Mapping[str, str]) -> FindingsDifference:
    not_compared, warnings, certain_only = _limits(old, new)
    before, after = (_comparable(side.findings, set(not_compared) - certain_only, certain_only) for side in (old, new))
    findings = _findings(before, after, samples, classes)
    return FindingsDifference(findings if samples is None else with_hysteresis(findings, new), not_compared, _left_out(old, new), tuple(warnings))


def _left_out(old: Run | KnownFindings, new: Run) -> tuple[str, ...]:
    from audit.checks import discover

    known = discover()
    done = (name for name, check in old.record.get("checks", {}).items() if check["state"] == "done" and name in known)
    return tuple(sorted(name for name in done if name not in new.record.get("checks", {})))


def _findings(old: pd.DataFrame, new: pd.DataFrame, samples: pd.DataFrame | None, classes: Mapping[str, str]) -> pd.DataFrame:
    in_new, in_old = match_findings(old, new, classes)
    fixed, fresh = old[~in_new], new[~in_old]
    parts = [
        fresh.assign(state="new", cause=None if samples is None else causes(fresh, samples, "new_id")),
        fixed.assign(state="fixed", cause=None if samples is None else causes(fixed, samples, "old_id")),
        new[in_old].assign(state="persisting", cause=None),
    ]
    some = [part.astype(object) for part in parts if len(part)]
    return pd.concat(some, ignore_index=True) if some else pd.DataFrame(columns=[*FINDINGS.names, "state", "cause"])


def _comparable(findings: pd.DataFrame, left_out: set[str], certain_only: set[str]) -> pd.DataFrame:
    return findings[~findings["check"].isin(left_out) & (~findings["check"].isin(certain_only) | findings["kind"].isin(_CERTAIN_KINDS))]


def _limits(old: Run | KnownFindings, new: Run) -> tuple[dict[str, str], list[str], set[str]]:
    """Return check -> why it is not compared, warnings, and the checks of which only `_CERTAIN_KINDS` are compared."""
    not_compared: dict[str, str] = {}
    warnings: list[str] = []
    certain_only: set[str] = set()
    ran = {"old": old.record.get("checks", {}), "new": new.record.get("checks", {})}
    every = sorted({*ran["old"], *ran["new"]})
    for name in every:
        missing = [(side, checks.get(name, {})) for side, checks in ran.items() if checks.get(name, {}).get("state") != "done"]
        if missing:
            side, state = missing[0]
            where = "either version" if len(missing) > 1 else f"the {side} version"
            not_compared[name] = f"did not run on {where}" + (f": {state['reason']}" if state.get("reason") else "")
    if _model(old) != _model(new):
        from audit.checks import discover

        warnings.append(f"the embeddings come from different models ({_model_words(old)}; {_model_words(new)}): drift is not compared")
        needs = {name: {*check.needs, *check.optional_needs} for name, check in discover().items()}
        certain_only = {name for name in every if name not in not_compared and needs.get(name, {"embeddings"}) - _MODEL_FREE}
        not_compared |= dict.fromkeys(sorted(certain_only), f"its findings come from two models; only {' and '.join(_CERTAIN_KINDS)} are compared")
    versions = [run.record.get("version") for run in (old, new)]
    if versions[0] != versions[1]:
        warnings.append(f"scanned by imagenet-audit {versions[0]} and {versions[1]}: findings may differ because of the version")
    options = [run.record.get("options", {}).get("checks", {}) for run in (old, new)]
    differ = sorted(name for name in {*options[0], *options[1]} if options[0].get(name) != options[1].get(name))
    warnings += [f"{name} ran with different options: its findings may differ because of them" for name in differ]
    return not_compared, warnings, certain_only


def _model(run: Run | KnownFindings) -> tuple[Any, Any]:
    backbone = run.record.get("backbone", {})
    return backbone.get("weights_id", backbone.get("name")), backbone.get("precision")


def _model_words(run: Run | KnownFindings) -> str:
    backbone = run.record.get("backbone", {})
    return f"{backbone.get('name', 'an unknown model')} in {backbone.get('precision', 'unknown precision')}"


def _health(old: Run, new: Run, before: pd.DataFrame, after: pd.DataFrame, classes: Mapping[str, str]) -> pd.DataFrame:
    sides = (_health_of(old, before, before["label"].replace(dict(classes))), _health_of(new, after, after["label"]))
    joined = sides[0].add_suffix("_old").join(sides[1].add_suffix("_new"), how="outer")
    for side in ("old", "new"):
        numbers = [f"images_{side}", f"flagged_{side}"]
        joined[numbers] = joined[numbers].fillna(0).astype(int)
        joined[f"rate_{side}"] = joined[f"flagged_{side}"] / joined[f"images_{side}"].where(joined[f"images_{side}"] > 0)
    return joined.reset_index()


def _health_of(run: Run, samples: pd.DataFrame, labels: pd.Series[Any]) -> pd.DataFrame:
    """Return images and flagged images in total, per check and per class."""
    index = run.findings_index
    serious = index[(index["severity"] != "info") & index["sample_id"].notna()]
    flagged = samples["sample_id"].isin(serious["sample_id"])
    of_check = serious.groupby("check", observed=True)["sample_id"].nunique()
    done = sorted(name for name, state in run.record.get("checks", {}).items() if state["state"] == "done")
    rows = [("all", "all", len(samples), int(flagged.sum()))]
    rows += [("check", name, len(samples), int(of_check.get(name, 0))) for name in done]
    sizes = flagged.groupby(labels).agg(["size", "sum"])
    rows += [("class", str(name), int(row["size"]), int(row["sum"])) for name, row in sizes.iterrows()]
    return pd.DataFrame(rows, columns=["part", "name", "images", "flagged"]).set_index(["part", "name"])


def _class_drift(old: Run, new: Run, before: pd.DataFrame, after: pd.DataFrame, classes: Mapping[str, str]) -> pd.DataFrame:
    rows_old: Mapping[Any, Any] = before.groupby(before["label"].replace(dict(classes))).indices
    rows_new: Mapping[Any, Any] = after.groupby("label").indices
    rows = []
    for label in sorted({*rows_old} & {*rows_new}):
        found = embedding_drift(old.embeddings, new.embeddings, np.sort(rows_old[label]), np.sort(rows_new[label]))
        if found is not None:
            rows.append((label, found.shift, found.old_images, found.new_images))
    return pd.DataFrame(rows, columns=_CLASS_DRIFT).sort_values(["shift", "label"], ascending=[False, True]).reset_index(drop=True)

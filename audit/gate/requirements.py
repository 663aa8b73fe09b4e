"""Judge a policy's requirements other than limits on findings: readable images, classes, splits, class sizes, drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.diff.comparison import Difference, FindingsDifference
from audit.gate.verdict import FAILED, NO_BASELINE, NOT_JUDGED, PASSED, UNKNOWN, Verdict
from audit.io.console import counted

if TYPE_CHECKING:
    from audit.gate.waivers import Waived
    from audit.run.run import Run

_SHOWN = 5
"""Images or classes listed."""


def requirement(name: str, wanted: Any, run: Run, difference: Difference | FindingsDifference | None, waived: Waived) -> Verdict:
    """Judge one requirement of a policy.

    Args:
        name: its key.
        wanted: its value.
        run: the version to check.
        difference: from the baseline to the run; None without a baseline.
        waived: accepted findings.
    """
    rule = f"require.{name}"
    if name.endswith("_drift"):
        return _drift(name, wanted, difference)
    if name == "readable":
        return _readable(rule, run, waived, wanted=wanted)
    if name == "whole_groups":
        return _whole_groups(rule, run, wanted=wanted)
    return _of_samples(name, wanted, run)


def _of_samples(name: str, wanted: Any, run: Run) -> Verdict:
    """Judge the numbers and names of splits and classes."""
    rule, samples = f"require.{name}", run.columns("split", "label", "labels")
    if name == "min_per_split":
        return _split_sizes(rule, samples["split"].value_counts(), wanted)
    labels = pd.concat([samples["label"].dropna(), samples["labels"].dropna().explode().dropna()])
    if name == "min_per_class":
        sizes = labels.value_counts()
        if not len(sizes):
            return Verdict(rule, FAILED, "no image has a label")
        small = sorted(sizes[sizes < wanted].index)
        few = (
            f"{counted(len(small), 'class')} with fewer than {counted(wanted, 'image')}: {', '.join(small[:_SHOWN])}{' ...' * (len(small) > _SHOWN)}"
        )
        return Verdict(rule, FAILED if small else PASSED, few if small else f"every class has at least {counted(wanted, 'image')}")
    found = {*(labels if name == "classes" else samples["split"].dropna())}
    wrong = [
        f"{word}: {', '.join(sorted(names)[:_SHOWN])}" for word, names in (("missing", {*wanted} - found), ("unexpected", found - {*wanted})) if names
    ]
    return Verdict(rule, FAILED if wrong else PASSED, "; ".join(wrong) or "as required")


def _split_sizes(rule: str, sizes: pd.Series[int], wanted: int | dict[str, int]) -> Verdict:
    """Judge whether each split has enough images; a dataset without splits has none."""
    least = wanted if isinstance(wanted, dict) else dict.fromkeys(sizes.index, wanted)
    small = [f"{split} has {int(sizes.get(split, 0)):,} of {number:,}" for split, number in sorted(least.items()) if sizes.get(split, 0) < number]
    if small:
        return Verdict(rule, FAILED, f"too few images: {', '.join(small[:_SHOWN])}{' ...' * (len(small) > _SHOWN)}")
    return Verdict(rule, PASSED, "every split has enough images" if len(sizes) else "the dataset has no splits")


def _readable(rule: str, run: Run, waived: Waived, *, wanted: bool) -> Verdict:
    """Judge whether every image could be listed and read, except those with a waived finding."""
    samples = run.columns("sample_id", "outcome")
    failed = samples["sample_id"][samples["outcome"] != "ok"]
    findings = run.findings_index
    accepted = findings["finding_id"].isin(waived.ids) & (findings["check"] == "integrity") & (findings["severity"] == "error")
    left = sorted(failed[~failed.isin(findings["sample_id"][accepted])])
    message = f"{len(left):,} of {len(run):,} listed images cannot be read"
    if left:
        message += f": {', '.join(left[:_SHOWN])}{' ...' * (len(left) > _SHOWN)}"
    if len(left) < len(failed):
        message += f"; {len(failed) - len(left):,} more are waived"
    message = "; ".join([message, *(problem.rstrip(".") for problem in run.not_listed)])
    return Verdict(rule, FAILED if wanted and (left or run.not_listed) else PASSED, message)


def _whole_groups(rule: str, run: Run, *, wanted: bool) -> Verdict:
    """Judge whether every group of images is in one split."""
    samples = run.columns("sample_id", "split", "group").dropna(subset=["group", "split"])
    if not len(samples):
        return Verdict(rule, UNKNOWN if wanted else NOT_JUDGED, "the scan has no groups: set group_column or group_pattern in audit.toml")
    splits = samples.groupby("group")["split"].nunique()
    torn = samples[samples["group"].map(splits) > 1].drop_duplicates("group")["sample_id"].tolist()
    message = f"{len(torn):,} of {counted(len(splits), 'group')} are in several splits"
    if torn:
        message += f", those of {', '.join(torn[:_SHOWN])}{' ...' * (len(torn) > _SHOWN)}"
    return Verdict(rule, FAILED if wanted and torn else PASSED, message)


def _drift(name: str, limit: float, difference: Difference | FindingsDifference | None) -> Verdict:
    rule = f"require.{name}"
    if not isinstance(difference, Difference):
        return Verdict(rule, NOT_JUDGED, NO_BASELINE if difference is None else "the baseline is a report, which has no image data")
    if name == "embedding_drift":
        if difference.drift is None:
            return Verdict(rule, UNKNOWN, "the embeddings cannot be compared: scan both versions with the same backbone")
        found, what = difference.drift.shift, "shift of the mean embedding, in units of the old spread:"
    else:
        classes = difference.health[difference.health["part"] == "class"]
        shares = [classes[side] / max(int(classes[side].sum()), 1) for side in ("images_old", "images_new")]
        found, what = float((shares[0] - shares[1]).abs().sum() / 2), "total variation of the class shares"
    return Verdict(rule, FAILED if found > limit else PASSED, f"{what} {found:.3f}, limit {limit:g}")

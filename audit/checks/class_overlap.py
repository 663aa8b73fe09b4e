"""Classes that are confused with each other, and classes whose labels are poor.

Why it matters: reviewing single images cannot fix two classes that mean the same. Merging them, or defining their boundary, can.

How it works: the confusion matrix compares the given label with the out-of-sample prediction. The confident joint (cleanlab) counts only predictions
that are as confident as is usual for their class, so it separates label errors from an uncertain model. With a taxonomy (`audit.taxonomy`), the
evidence distinguishes fine-grained confusions from gross ones. The false discovery rate is controlled over all classes and pairs.

Blind spots: classes overlap where the backbone cannot see what distinguishes them; look at the images before merging. Classes that mean the same can
be far apart in a taxonomy: in WordNet, sunglass and sunglasses have a similarity of 0.64.

Papers: Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR; Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
Inference", JASA (the intervals); Benjamini & Hochberg 1995, "Controlling the False Discovery Rate", JRSS B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import SEVERAL_LABELS, Evidence, Family, Finding, Result, Skipped, require_above, require_between_0_and_1, require_shares
from audit.labels.class_names import class_name
from audit.labels.statistics import (
    confident_joint,
    confusion_matrix,
    ends_of,
    label_health,
    overlap_groups,
    pairs_of_classes,
    quality_of_classes,
    shares_of,
)
from audit.statistics.multiple_testing import adjusted_p, share_p

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd
    from scipy.sparse import csr_array

    from audit.taxonomy import Taxonomy

KINDS = ("label_health", "confused_pair", "overlap_group", "poor_labels")
FAMILY: Family = "confusion"
EVIDENCE = {
    "images": Evidence("Images"),
    "confused": Evidence("Images predicted as the other class"),
    "share": Evidence("Share", "share"),
    "share_interval": Evidence("Its 95% interval", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "share_back": Evidence("Share in the other direction", "share"),
    "confident": Evidence("Share in the confident joint", "share"),
    "taxonomy": Evidence("Taxonomy"),
    "common": Evidence("Common ancestor"),
    "steps": Evidence("Steps"),
    "similarity": Evidence("Similarity"),
    "slip": Evidence("Kind of slip", "name"),
    "classes": Evidence("Classes"),
    "label_health": Evidence("Label health", "share"),
    "expected_errors": Evidence("Expected errors"),
    "expected_share_interval": Evidence("Interval of their share", "share"),
    "worst_classes": Evidence("Worst classes", "share", by_name=True),
    "overlapping_pairs": Evidence("Overlapping pairs"),
    "label_quality": Evidence("Share of correct labels", "share"),
    "label_quality_interval": Evidence("Its 95% interval", "share"),
    "dataset_quality": Evidence("In the dataset", "share"),
}

_IMAGES_FOR_HEALTH = 100
"""Judged images below which the expected share of wrong labels reflects the models more than the labels."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, since there are no judged overlaps to measure them on."""

    min_share: float = 0.1
    """A pair is reported where this share of a class's images is predicted as the other; above 0, at most 1."""
    group_share: float = 0.05
    """Classes form a group where every two are confused in this share of their images, averaged over both directions; above 0, at most 1."""
    min_errors: float = 0.01
    """Label health is reported where at least this share of labels is expected to be wrong; above 0, at most 1."""
    min_images: int = 10
    """Judged images that a class needs to be reported; at least 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the poor classes, and of the pairs that are warnings; above 0, below 1."""

    def __post_init__(self) -> None:
        require_between_0_and_1(self, "false_discoveries")
        require_shares(self, "min_share", "group_share", "min_errors", example=0.1)
        require_above(self, min_images=0)


def run(
    samples: pd.DataFrame,
    predictions: npt.NDArray[np.float32],
    label_quality: pd.DataFrame,
    classes: list[str],
    class_words: Mapping[str, str] | None = None,
    taxonomy: Taxonomy | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report overlapping pairs and groups of classes, and classes with poor labels; images have no score."""
    if len(classes) < 2:
        return Skipped("fewer than two classes")
    if samples["labels"].notna().any():
        return SEVERAL_LABELS
    given = label_quality["given"].to_numpy().astype(np.int64)
    counts = confusion_matrix(given, label_quality["predicted"].to_numpy(), len(classes))
    if not counts.nnz:
        return Skipped("no labelled image has a prediction")
    words = class_words or {}
    quality = quality_of_classes(label_quality, classes)
    joint = confident_joint(predictions, given)
    findings = [
        *_health(joint, quality, label_quality, classes, options),
        *_confused_pairs(counts, joint, classes, words, taxonomy, options),
        *_groups(counts, classes, words, options),
        *_poor_classes(quality, words, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _health(joint: csr_array, quality: pd.DataFrame, labels: pd.DataFrame, classes: list[str], options: Options) -> list[Finding]:
    """Return the finding about the dataset's labels: the expected share of wrong ones, and cleanlab's label health."""
    from scipy.sparse import triu

    health = label_health(joint)
    judged = quality[quality["n"] > 0]
    images = int(judged["n"].sum())
    wrong = float((judged["estimated_error_rate"] * judged["n"]).sum() / images)
    if wrong < options.min_errors or images < _IMAGES_FOR_HEALTH:
        return []
    both = triu((joint + joint.T) / max(joint.sum(), 1e-12), 1, format="coo")
    first, second = both.coords
    order = [at for at in np.lexsort((second, first, -both.data)).tolist() if both.data[at] > 0][:5]
    pairs = [(int(first[at]), int(second[at]), float(both.data[at])) for at in order]
    worst = judged[judged["n"] >= options.min_images].sort_values(["estimated_error_rate", "label"], ascending=[False, True], kind="stable").head(5)
    low, high = (float(np.nanmean(end)) for end in ends_of(labels))
    message = f"An expected {wrong:.1%} of {images:,} labels are wrong ({low:.1%} to {high:.1%}). Start with the top findings of label_errors."
    evidence: dict[str, Any] = {
        "images": images,
        "label_health": health,
        "expected_errors": round(wrong * images, 1),
        "expected_share_interval": [low, high],
        "worst_classes": dict(zip(worst["label"].tolist(), worst["estimated_error_rate"].tolist(), strict=True)),
        "overlapping_pairs": [{"classes": [classes[a], classes[b]], "share": share} for a, b, share in pairs],
    }
    low, high = (float(np.nanmean(end)) for end in ends_of(labels))
    return [Finding(kind="label_health", score=min(wrong, 1.0), severity="info", message=message, evidence=evidence)]


def _confused_pairs(
    counts: csr_array, joint: csr_array, classes: list[str], words: Mapping[str, str], taxonomy: Taxonomy | None, options: Options
) -> list[Finding]:
    findings = []
    code_of = {name: at for at, name in enumerate(classes)}
    pairs = pairs_of_classes(counts, classes, min_images=options.min_images)
    pairs = pairs[pairs["share"] >= options.min_share]
    # A class's shares sum to 1, and the binomial tail is convex below the limit. So all pairs of a class together have no more false positives than
    # 1 / limit tests at the limit.
    tests = math.ceil((counts.sum(1) >= options.min_images).sum() / options.min_share)
    adjusted = adjusted_p(share_p(pairs["confused"], pairs["images"], options.min_share), pairs["share"] > options.min_share, tests=tests)
    for pair in pairs.assign(adjusted_p=adjusted).to_dict("records"):
        evidence: dict[str, Any] = {
            "images": int(pair["images"]),
            "confused": int(pair["confused"]),
            "share": float(pair["share"]),
            "share_interval": [float(pair["low"]), float(pair["high"])],
            "adjusted_p": float(pair["adjusted_p"]),
            "share_back": float(pair["share_back"]),
            "confident": float(joint[code_of[pair["label"]], code_of[pair["predicted"]]] / pair["images"]),
        }
        if taxonomy:
            evidence |= taxonomy.evidence(pair["label"], pair["predicted"])
        first, second = class_name(pair["label"], words), class_name(pair["predicted"], words)
        findings.append(
            Finding(
                kind="confused_pair",
                score=float(pair["share"]),
                severity="warning" if pair["adjusted_p"] <= options.false_discoveries else "info",
                message=f"{pair['share']:.0%} of the images labelled {first} are predicted as {second}. Compare the two classes.",
                label=pair["label"],
                suggested_label=pair["predicted"],
                evidence=evidence,
            )
        )
    return findings


def _groups(counts: csr_array, classes: list[str], words: Mapping[str, str], options: Options) -> list[Finding]:
    share = shares_of(counts) * (counts.sum(1) >= options.min_images)[:, None]
    findings = []
    for group in overlap_groups(share, options.group_share):
        names = [class_name(classes[at], words) for at in group]
        if len(group) < 3:
            continue
        inside = share[group][:, group].toarray()
        confused = float((inside.sum(1) - np.diag(inside)).mean())
        findings.append(
            Finding(
                kind="overlap_group",
                score=min(confused, 1.0),
                severity="info",
                message=f"{', '.join(names)} are confused with one another. Merge them or define them more clearly.",
                label=classes[group[0]],
                evidence={"classes": [classes[at] for at in group], "share": confused},
            )
        )
    return findings


def _poor_classes(quality: pd.DataFrame, words: Mapping[str, str], options: Options) -> list[Finding]:
    """Return classes whose labels are significantly worse than the dataset's mean, even if only the errors count that the labels prove."""
    judged = quality[quality["n"] > 0]
    overall = float((judged["estimated_error_rate"] * judged["n"]).sum() / max(int(judged["n"].sum()), 1))
    worse = judged[judged["n"] >= options.min_images]
    least = worse["least_error_rate"]
    worse = worse.assign(adjusted_p=adjusted_p(share_p(least * worse["n"], worse["n"], overall), least > overall))
    poor = worse[worse["adjusted_p"] <= options.false_discoveries]
    columns = ["label", "n", "estimated_error_rate", "low", "high", "adjusted_p"]
    return [
        Finding(
            kind="poor_labels",
            score=rate,
            severity="warning",
            message=f"An expected {rate:.0%} of the labels {class_name(label, words)} are wrong ({overall:.0%} in the dataset). Review it first.",
            label=label,
            evidence={
                "images": images,
                "label_quality": 1 - rate,
                "label_quality_interval": [1 - high, 1 - low],
                "dataset_quality": 1 - overall,
                "adjusted_p": adjusted,
            },
        )
        for label, images, rate, low, high, adjusted in zip(*(poor[name].tolist() for name in columns), strict=True)
    ]

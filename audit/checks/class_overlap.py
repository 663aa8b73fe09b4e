"""Classes that are mistaken for each other, and classes whose labels are poor.

Why it matters: an image by image review cannot mend two classes that mean the same; merging them, or writing down where one ends, can.

The confusion matrix sets the given label against the out-of-sample prediction. The confident joint (cleanlab) counts only predictions that are as
sure as is usual for their class, so it tells labels that slip from a model that hesitates.

Where a taxonomy is at hand (`audit.taxonomy`), evidence tells a fine-grained slip from a gross one.

Blind spots: a backbone that cannot see what tells two classes apart makes them overlap; look at the images before merging. Classes that mean the same
can lie far apart in a taxonomy: in WordNet sunglass and sunglasses have a similarity of 0.64.

A dataset has many classes and pairs, so the false discovery rate is controlled over all of them.

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
    "confused": Evidence("Confused"),
    "share": Evidence("Share", "share"),
    "share_interval": Evidence("Its 95% interval", "share"),
    "adjusted_p": Evidence("p, corrected for many tests", "p"),
    "share_back": Evidence("Share the other way", "share"),
    "confident": Evidence("Share by the confident joint", "share"),
    "taxonomy": Evidence("Taxonomy"),
    "common": Evidence("Common"),
    "steps": Evidence("Steps"),
    "similarity": Evidence("Likeness"),
    "slip": Evidence("Slip", "name"),
    "classes": Evidence("Classes"),
    "label_health": Evidence("Health of the labels", "share"),
    "expected_errors": Evidence("Expected errors"),
    "worst_classes": Evidence("Worst classes", "share", by_name=True),
    "overlapping_pairs": Evidence("Overlapping pairs"),
    "label_quality": Evidence("Share of right labels", "share"),
    "label_quality_interval": Evidence("Its 95% interval", "share"),
    "dataset_quality": Evidence("In the dataset", "share"),
}

_IMAGES_FOR_HEALTH = 100
"""Judged images below which the expected share of wrong labels says more of the models than of the labels."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the check; the defaults are choices, there are no judged overlaps to measure them on."""

    min_share: float = 0.1
    """Report that a class is taken for another from this share of its images, 0..1."""
    group_share: float = 0.05
    """Classes form a group where every two of them are taken for each other in this share of their images, both directions averaged, 0..1."""
    min_errors: float = 0.01
    """Report the dataset's label health where at least this share of its labels is expected to be wrong, 0..1."""
    min_images: int = 10
    """Judged images a class needs before anything is said of it, at least 1."""
    false_discoveries: float = 0.05
    """Of all poor classes, and of all pairs that are warned of, at most this share is expected to be chance; above 0 and below 1."""

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
    """Report pairs and groups of classes that overlap, and classes with poor labels. Findings are about classes; images have no score."""
    if len(classes) < 2:
        return Skipped("fewer than two classes")
    if samples["labels"].notna().any():
        return SEVERAL_LABELS
    given = label_quality["given"].to_numpy().astype(np.int64)
    counts = confusion_matrix(given, label_quality["predicted"].to_numpy(), len(classes))
    if not counts.nnz:
        return Skipped("no labelled image has a prediction")
    words = class_words or {}
    quality = quality_of_classes(label_quality["probability_wrong"].to_numpy(), given, classes)
    joint = confident_joint(predictions, given)
    findings = [
        *_health(joint, quality, classes, options),
        *_confused_pairs(counts, joint, classes, words, taxonomy, options),
        *_groups(counts, classes, words, options),
        *_poor_classes(quality, words, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _health(joint: csr_array, quality: pd.DataFrame, classes: list[str], options: Options) -> list[Finding]:
    """The dataset's labels as a whole, in cleanlab's terms beside the expected share of wrong ones."""
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
    evidence: dict[str, Any] = {
        "images": images,
        "label_health": health,
        "expected_errors": round(wrong * images, 1),
        "worst_classes": dict(zip(worst["label"].tolist(), worst["estimated_error_rate"].tolist(), strict=True)),
        "overlapping_pairs": [{"classes": [classes[a], classes[b]], "share": share} for a, b, share in pairs],
    }
    message = f"An expected {wrong:.1%} of {images:,} labels are wrong; review the worst classes and label_errors from the top."
    return [Finding(kind="label_health", score=min(wrong, 1.0), severity="info", message=message, evidence=evidence)]


def _confused_pairs(
    counts: csr_array,
    joint: csr_array,
    classes: list[str],
    words: Mapping[str, str],
    taxonomy: Taxonomy | None,
    options: Options,
) -> list[Finding]:
    findings = []
    place = {name: at for at, name in enumerate(classes)}
    pairs = pairs_of_classes(counts, classes, min_images=options.min_images)
    pairs = pairs[pairs["share"] >= options.min_share]
    # A class's shares sum to 1, and chance lifts a share above the limit the more rarely the smaller it is (the binomial's tail is convex below the
    # limit), so that all pairs of a class err no oftener than as many tests as the limit fits into 1.
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
            "confident": float(joint[place[pair["label"]], place[pair["predicted"]]] / pair["images"]),
        }
        if taxonomy:
            evidence |= taxonomy.evidence(pair["label"], pair["predicted"])
        first, second = class_name(pair["label"], words), class_name(pair["predicted"], words)
        findings.append(
            Finding(
                kind="confused_pair",
                score=float(pair["share"]),
                severity="warning" if pair["adjusted_p"] <= options.false_discoveries else "info",
                message=f"{pair['share']:.0%} of the images labelled {first} are taken for {second}; compare the two classes.",
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
        mistaken = float((inside.sum(1) - np.diag(inside)).mean())
        findings.append(
            Finding(
                kind="overlap_group",
                score=min(mistaken, 1.0),
                severity="info",
                message=f"{', '.join(names)} are taken for one another; consider merging or defining them anew.",
                label=classes[group[0]],
                evidence={"classes": [classes[at] for at in group], "share": mistaken},
            )
        )
    return findings


def _poor_classes(quality: pd.DataFrame, words: Mapping[str, str], options: Options) -> list[Finding]:
    """Classes whose labels are surely worse than the dataset's mean."""
    judged = quality[quality["n"] > 0]
    errors = judged["estimated_error_rate"] * judged["n"]
    overall = float(errors.sum() / max(int(judged["n"].sum()), 1))
    enough = judged["n"] >= options.min_images
    worse = judged[enough].assign(
        adjusted_p=adjusted_p(share_p(errors[enough], judged["n"][enough], overall), judged["estimated_error_rate"][enough] > overall)
    )
    poor = worse[worse["adjusted_p"] <= options.false_discoveries]
    return [
        Finding(
            kind="poor_labels",
            score=rate,
            severity="warning",
            message=f"An expected {rate:.0%} of the labels {class_name(label, words)} are wrong ({overall:.0%} in the dataset); review it first.",
            label=label,
            evidence={
                "images": images,
                "label_quality": 1 - rate,
                "label_quality_interval": [1 - high, 1 - low],
                "dataset_quality": 1 - overall,
                "adjusted_p": adjusted,
            },
        )
        for label, images, rate, low, high, adjusted in zip(*(poor[name].tolist() for name in poor.columns), strict=True)
    ]

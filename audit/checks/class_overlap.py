"""Classes that are mistaken for each other, and classes whose labels are poor.

Why it matters: an image by image review cannot mend two classes that mean the same; merging them, or writing down where one ends, can.

The confusion matrix sets the given label against the out-of-sample prediction. The confident joint (cleanlab) counts only predictions that are as
sure as is usual for their class, so it tells labels that slip from a model that hesitates.

Blind spots: a backbone that cannot see what tells two classes apart makes them overlap; look at the images before merging. How far apart two WordNet
classes lie in the taxonomy is not known here: no taxonomy comes with this package.

Papers: Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR; Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
Inference", JASA (the intervals).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Finding, Result, Skipped
from audit.errors import ConfigError
from audit.label_noise import estimate_noise, judged_rows, suspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

_CONFIDENT_CELLS = 200_000_000
"""The confident joint is counted on at most this many probabilities (0.8 GB), of rows evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the check; the defaults are choices, there are no judged overlaps to measure them on."""

    min_share: float = 0.1
    """Report that a class is taken for another from this share of its images, 0..1."""
    group_share: float = 0.05
    """Classes form a group where every two of them are taken for each other in this share of their images, both directions averaged, 0..1."""
    min_images: int = 10
    """Judged images a class needs before anything is said of it, at least 1."""

    def __post_init__(self) -> None:
        for name in ("min_share", "group_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(name, f"{getattr(self, name)} is not above 0 and at most 1", "use a share such as 0.1")
        if self.min_images < 1:
            raise ConfigError("min_images", f"{self.min_images} is too small", "use at least 1")


def confusion_matrix(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count given label (row) against most probable class (column), ``[c, c]``; unlabelled rows and NaN rows are left out."""
    classes = predictions.shape[1]
    counts = np.zeros((classes, classes), np.int64)
    rows = judged_rows(predictions, given)
    for start in range(0, len(rows), 8192):
        part = rows[start : start + 8192]
        np.add.at(counts, (given[part], np.asarray(predictions[part]).argmax(1)), 1)
    return counts


def confident_joint(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return cleanlab's confident joint, given label (row) against true class (column), ``[c, c]``, scaled to the judged images of each label."""
    classes = predictions.shape[1]
    rows = judged_rows(predictions, given)
    if not len(rows):
        return np.zeros((classes, classes))
    from cleanlab.count import compute_confident_joint  # takes over a second

    some = rows[:: max(1, -(-len(rows) * classes // _CONFIDENT_CELLS))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that no row is labelled with: ordinary here
        joint = np.asarray(compute_confident_joint(given[some], np.asarray(predictions[some]), calibrate=False), dtype=np.float64)
    total = np.bincount(given[rows], minlength=classes)
    return np.asarray(joint * (total / np.maximum(joint.sum(1), 1))[:, None])


def wilson(successes: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], z: float = 1.96) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the two ends of Wilson's score interval of a share; 0 and 1 where there are no trials."""
    n = np.maximum(trials, 1e-9)
    share, square = successes / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return np.where(trials > 0, np.clip(middle - half, 0, 1), 0.0), np.where(trials > 0, np.clip(middle + half, 0, 1), 1.0)


def overlap_groups(share: npt.NDArray[np.float64], threshold: float) -> list[list[int]]:
    """Return groups of classes of which every two overlap: no chains, where only neighbors do.

    Args:
        share: ``[c, c]`` share of the row's images taken for the column.
        threshold: of the mean of both directions.

    Returns:
        Groups of two and more, disjoint, grown from the strongest pair down.
    """
    both = (share + share.T) / 2
    np.fill_diagonal(both, 0)
    first, second = np.nonzero(np.triu(both >= threshold))
    order = np.lexsort((second, first, -both[first, second]))
    groups = {index: [index] for index in range(len(share))}
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        left, right = groups[a], groups[b]
        if left is not right and (both[np.ix_(left, right)] >= threshold).all():
            left.extend(right)
            groups.update(dict.fromkeys(right, left))
    found = {id(group): sorted(group) for group in groups.values() if len(group) > 1}
    return sorted(found.values())


def run(
    samples: pd.DataFrame,
    predictions: npt.NDArray[np.float32],
    classes: list[str],
    class_words: Mapping[str, str] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report pairs and groups of classes that overlap, and classes with poor labels. Findings are about classes; images have no score."""
    if len(classes) < 2:
        return Skipped("fewer than two classes")
    given = samples["label"].map({name: index for index, name in enumerate(classes)}).fillna(-1).to_numpy().astype(np.int64)
    counts = confusion_matrix(predictions, given)
    total = counts.sum(1)
    if not total.any():
        return Skipped("no labelled image has a prediction")
    names = [_name(label, class_words or {}) for label in classes]
    share = counts / np.maximum(total, 1)[:, None]
    share[total < options.min_images] = 0
    findings = [
        *_confused_pairs(counts, share, confident_joint(predictions, given), classes, names, options),
        *_groups(share, classes, names, options),
        *_poor_classes(suspect(predictions, given, estimate_noise(predictions, given)).probability, given, classes, names, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _name(label: str, words: Mapping[str, str]) -> str:
    known = words.get(label)
    return f"{label!r} ({known})" if known and known != label else repr(label)


def _confused_pairs(
    counts: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    joint: npt.NDArray[np.float64],
    classes: list[str],
    names: list[str],
    options: Options,
) -> list[Finding]:
    findings = []
    total = counts.sum(1)
    off_diagonal = share * (1 - np.eye(len(share)))
    for a, b in np.argwhere(off_diagonal >= options.min_share).tolist():
        low, high = (float(end[0]) for end in wilson(counts[a, b : b + 1].astype(float), total[a : a + 1].astype(float)))
        evidence: dict[str, Any] = {
            "images": int(total[a]),
            "confused": int(counts[a, b]),
            "share": float(share[a, b]),
            "share_interval": [low, high],
            "share_back": float(share[b, a]),
            "confident": float(joint[a, b] / max(total[a], 1)),
        }
        findings.append(
            Finding(
                kind="confused_pair",
                score=float(share[a, b]),
                severity="warning" if low >= options.min_share else "info",
                message=f"{share[a, b]:.0%} of the images labelled {names[a]} are taken for {names[b]}; compare the two classes.",
                label=classes[a],
                suggested_label=classes[b],
                evidence=evidence,
            )
        )
    return findings


def _groups(share: npt.NDArray[np.float64], classes: list[str], names: list[str], options: Options) -> list[Finding]:
    findings = []
    for group in overlap_groups(share, options.group_share):
        if len(group) < 3:
            continue
        inside = share[np.ix_(group, group)]
        mistaken = float((inside.sum(1) - np.diag(inside)).mean())
        findings.append(
            Finding(
                kind="overlap_group",
                score=min(mistaken, 1.0),
                severity="info",
                message=f"{', '.join(names[at] for at in group)} are taken for one another; consider merging or defining them anew.",
                label=classes[group[0]],
                evidence={"classes": [classes[at] for at in group], "share": mistaken},
            )
        )
    return findings


def _poor_classes(
    wrong: npt.NDArray[np.float32], given: npt.NDArray[np.int64], classes: list[str], names: list[str], options: Options
) -> list[Finding]:
    """Classes whose labels are surely worse than the dataset's mean."""
    judged = np.isfinite(wrong)
    images = np.bincount(given[judged], minlength=len(classes)).astype(float)
    errors = np.bincount(given[judged], weights=wrong[judged], minlength=len(classes)).astype(float)
    low, high = wilson(errors, images)
    overall = float(errors.sum() / max(images.sum(), 1))
    findings = []
    for at in np.flatnonzero((images >= options.min_images) & (low > overall)).tolist():
        quality = 1 - float(errors[at] / images[at])
        findings.append(
            Finding(
                kind="poor_labels",
                score=1 - quality,
                severity="warning",
                message=f"An expected {1 - quality:.0%} of the labels {names[at]} are wrong ({overall:.0%} in the dataset); review it first.",
                label=classes[at],
                evidence={
                    "images": int(images[at]),
                    "label_quality": quality,
                    "label_quality_interval": [1 - float(high[at]), 1 - float(low[at])],
                    "dataset_quality": 1 - overall,
                },
            )
        )
    return findings

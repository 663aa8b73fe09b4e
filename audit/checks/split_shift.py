"""Splits whose images differ: a probe can distinguish train from test, for the whole dataset or for one class.

Why it matters: scores on a test split describe the training task only if both show the same kind of images. A known case is ImageNet's *canoe*, whose
validation images are kayaks.

How it works: embeddings of a class are compared between the largest split and each other one, by the distance of the means against random splits,
with the false discovery rate controlled over all classes, and by how well a single direction, learned on one half, separates the splits on the other.
The dataset as a whole is compared class by class, so that different class shares (see ``class_balance``) do not count. Copies of an image count once
in each split.

Blind spots: differences that the backbone does not see, such as another labelling standard; a shift of the spread alone, with the same mean; classes
with few images in a split. A shift may be intended: a test set from another year or place.

Papers: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR (the statistic, with a linear kernel); Lopez-Paz & Oquab 2017, "Revisiting Classifier
Two-Sample Tests", ICLR; Hanley & McNeil 1982, "The Meaning and Use of the Area under a ROC Curve", Radiology (the interval); van Elteren 1960, "On
the combination of independent two sample tests of Wilcoxon", Bulletin of the International Statistical Institute (pairs within classes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets
from audit.statistics.multiple_testing import adjusted_p
from audit.statistics.one_per_duplicate_set import one_per_duplicate_set
from audit.statistics.split_half import second_half

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

KINDS = ("class_differs_in_*", "differs_in_*")
FAMILY: Family = "bias"
EVIDENCE = {
    "splits": Evidence("Splits"),
    "auc": Evidence("AUC (0.5 = chance)"),
    "interval": Evidence("Its 95% interval"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "p": Evidence("Unadjusted p-value", "p"),
    "images": Evidence("Images"),
    "pictures": Evidence("Distinct images"),
    "examples": Evidence("Examples"),
}

_DIRECTIONS = 64
_FIT_ROWS = 5_000
_ROWS_AT_ONCE = 8192
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, since there is no judged list of shifted classes."""

    least_auc: float = 0.75
    """Area under the ROC curve (0.5 = chance) from which a class is reported; above 0.5, at most 1."""
    least_auc_of_dataset: float = 0.6
    """The same for the whole dataset, for the lower end of the interval; above 0.5, at most 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the reported classes; above 0, below 1."""
    fewest: int = 10
    """Distinct images of a class that each of the two splits needs; at least 4."""

    def __post_init__(self) -> None:
        ranges = {"least_auc": (0.5, 1), "least_auc_of_dataset": (0.5, 1), "false_discoveries": (0, 1), "fewest": (3, float("inf"))}
        for name, (low, high) in ranges.items():
            if not low < getattr(self, name) <= high:
                raise ConfigError(name, f"{getattr(self, name)} is out of range", f"use a number above {low:g}, up to {high:g}")


class Shift(NamedTuple):
    """How two samples of vectors differ."""

    auc: float
    """Area under the ROC curve of one direction, learned on one half and measured on the other, 0..1; 0.5 = no difference."""
    low: float
    high: float
    """95% interval of the area."""
    p: float
    """p-value of the distance between the means."""
    score: Floats
    """``[m]`` out-of-sample score of each vector: high = like the second sample, low = like the first."""


def compare(
    vectors: Floats,
    second: npt.NDArray[np.bool_],
    half: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_] | None = None,
    strata: npt.NDArray[np.int64] | None = None,
) -> Shift:
    """Compare two samples of vectors within strata.

    Args:
        vectors: float32 ``[m, k]``.
        second: ``[m]`` whether a vector is in the second sample.
        half: ``[m]`` which half a vector belongs to.
        counted: ``[m]`` vectors that the statistics use; the others only get a score. By default all.
        strata: ``[m]`` codes from 0; differences between strata do not count, as in van Elteren's test. By default one.
    """
    counted = np.ones(len(vectors), bool) if counted is None else counted
    strata = np.zeros(len(vectors), np.int64) if strata is None else strata
    score = np.zeros(len(vectors), np.float32)
    for side in (False, True):
        learned, judged = counted & (half == side), half != side
        own = _centred(vectors[learned], strata[learned])
        spread = own.var(0) + 1e-12
        # A stratum with both samples contributes the difference of its means times n m / (n + m); one with a single sample contributes 0.
        direction = own[second[learned]].sum(0) / (spread + spread.mean())
        projected = (vectors[judged] @ direction)[:, None]
        score[judged] = _centred(projected, strata[judged], counted[judged])[:, 0] / (projected[counted[judged]].std() + 1e-12)
    areas = _Areas.of(score[counted], second[counted], strata[counted] * 2 + half[counted])
    # Each half trains the direction for the other, so their errors are correlated: the mean has the error of one, not of two independent ones.
    error = np.sqrt(2) * areas.error()
    p = _chance_of_distance(vectors[counted], second[counted], strata[counted])
    return Shift(areas.mean, max(areas.mean - 1.96 * error, 0.0), min(areas.mean + 1.96 * error, 1.0), p, score)


def _centred(vectors: Floats, strata: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return vectors minus the mean of the counted vectors of their stratum."""
    from scipy.sparse import csr_array

    weights = np.ones(len(vectors), np.float32) if counted is None else counted.astype(np.float32)
    members = csr_array((weights, (strata, np.arange(len(vectors)))), shape=(int(strata.max(initial=-1)) + 1, len(vectors)))
    means = (members @ vectors) / np.maximum(members.sum(1), 1)[:, None]
    return np.asarray(vectors - means[strata], np.float32)


class _Areas(NamedTuple):
    """Areas under the ROC curve within strata."""

    mean: float
    """Share of pairs within strata in which the second sample's vector scores higher; 0.5 without pairs."""
    own: npt.NDArray[np.float64]
    """``[s]`` vectors of the second sample in each stratum."""
    other: npt.NDArray[np.float64]
    """``[s]`` vectors of the first sample in each stratum."""

    @classmethod
    def of(cls, score: Floats, second: npt.NDArray[np.bool_], strata: npt.NDArray[np.int64]) -> _Areas:
        # Sorted by stratum and score, each vector of the second sample beats the vectors of the first sample before it.
        order = np.lexsort((score, strata))
        stratum, first = strata[order], (~second[order]).astype(np.float64)
        tied = np.cumsum(np.r_[True, (np.diff(stratum) != 0) | (np.diff(score[order]) != 0)])[: len(order)] - 1
        level = np.bincount(tied, weights=first)
        below = (np.cumsum(level) - level / 2)[tied]
        own, other = (np.bincount(stratum, weights=weights).astype(np.float64) for weights in (1 - first, first))
        wins = np.bincount(stratum, weights=(1 - first) * below) - own * (np.cumsum(other) - other)
        pairs = float((own * other).sum())
        return cls(float(wins.sum() / pairs) if pairs else 0.5, own, other)

    def error(self) -> float:
        """Return the standard error of the mean over independent strata (Hanley & McNeil)."""
        area, pairs = self.mean, self.own * self.other
        q1, q2 = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
        variance = pairs * (area * (1 - area) + np.maximum(self.own - 1, 0) * q1 + np.maximum(self.other - 1, 0) * q2)
        return float(np.sqrt(max(variance.sum(), 0.0)) / pairs.sum()) if pairs.any() else 0.5


def _chance_of_distance(vectors: Floats, second: npt.NDArray[np.bool_], strata: npt.NDArray[np.int64]) -> float:
    """Return the p-value of the squared distance of the means under shuffling within strata, from a gamma distribution of equal moments."""
    from scipy.stats import gamma

    own, other = (np.bincount(strata, weights=weights, minlength=int(strata.max(initial=-1)) + 1) for weights in (second, ~second))
    both = (own > 0) & (other > 0)
    kept = both[strata]
    freedom = int(kept.sum() - both.sum())
    if freedom < 1:
        return 1.0
    centred = _centred(vectors[kept], strata[kept])
    weight = float((own * other / np.maximum(own + other, 1))[both].sum())
    distance = float((centred[second[kept]].sum(0, dtype=np.float64) ** 2).sum()) / weight**2
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(centred), _ROWS_AT_ONCE):
        block = centred[start : start + _ROWS_AT_ONCE].astype(np.float64)
        covariance += block.T @ block / freedom
    mean, variance = float(np.trace(covariance)) / weight, 2 * float((covariance**2).sum()) / weight**2
    return float(gamma.sf(distance, a=mean**2 / variance, scale=variance / mean)) if variance > 0 else 1.0


def run(
    samples: pd.DataFrame, embeddings: npt.NDArray[np.float16], pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options
) -> Result | Skipped:
    """Report splits and classes that differ; images that drive the shift of a class have a score, other judged images 0."""
    rows = np.flatnonzero(((samples["outcome"] == "ok") & samples["split"].notna()).to_numpy(bool))
    table, sets = samples.iloc[rows], duplicate_sets(pairs, len(samples))[rows]
    counted = one_per_duplicate_set(table, sets, ("label", "split"))
    sizes = table["split"][counted].value_counts()
    if len(sizes) < 2:
        none = "no splits in this dataset" if samples["split"].isna().all() else "no readable image has a split"
        return Skipped("all images are in one split" if len(sizes) else none)
    ranked = sorted(sizes.index, key=lambda split: (-sizes[split], split))
    if sizes[ranked[1]] < options.fewest:
        return Skipped(f"fewer than two splits have {options.fewest} distinct images")
    content, labels, ids, splits = (table[name].to_numpy(object) for name in ("content_id", "label", "sample_id", "split"))
    half = second_half(table["content_id"], sets)
    vectors = _reduced(embeddings, rows, content, counted)
    scores = np.full(len(samples), np.nan, np.float32)
    scores[rows] = 0
    findings, notes = [], []
    for split in ranked[1:]:
        mine = np.flatnonzero(np.isin(splits, [ranked[0], split]))
        compared = _Compared(vectors[mine], labels[mine], ids[mine], splits[mine] == split, half[mine], counted[mine], (ranked[0], split))
        findings += _of_classes(compared, class_words, rows[mine], scores, options)
        of_dataset, shift = _of_dataset(compared, options)
        findings += of_dataset
        notes += [f"{split} with {ranked[0]}: AUC {shift.auc:.2f}, {shift.low:.2f} to {shift.high:.2f}"] if shift is not None else []
    return Result(scores, findings, f"compared class by class (0.5 = alike): {', '.join(notes)}" if notes else "")


class _Compared(NamedTuple):
    """The images of two splits, ``[m]`` each."""

    vectors: Floats
    labels: npt.NDArray[np.object_]
    ids: npt.NDArray[np.object_]
    second: npt.NDArray[np.bool_]
    half: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]
    names: tuple[str, str]

    def is_large_enough(self, at: npt.NDArray[np.int64], fewest: int) -> bool:
        """Return whether each split has enough distinct images, and some of them in each half."""
        at = at[self.counted[at]]
        sides = np.bincount(self.second[at] * 2 + self.half[at], minlength=4)
        return bool(sides.min() >= 2 and sides.reshape(2, 2).sum(1).min() >= fewest)


def _reduced(
    embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], content: npt.NDArray[np.object_], counted: npt.NDArray[np.bool_]
) -> Floats:
    """Return the first principal components, each divided by the fourth root of its variance, fitted on a sample chosen by content."""
    from scipy.linalg import eigh

    once = np.flatnonzero(counted)
    chosen = np.sort(once[np.argsort(content[once], kind="stable")[:_FIT_ROWS]])
    learned = embeddings[rows[chosen]].astype(np.float32)
    mean = learned.mean(0)
    learned -= mean
    last = learned.shape[1] - 1
    variance, axes = eigh(learned.T @ learned / max(len(learned), 1), subset_by_index=(max(last + 1 - _DIRECTIONS, 0), last))
    axes = (axes * np.maximum(variance, 1e-9) ** -0.25).astype(np.float32)
    blocks = [(embeddings[rows[start : start + _ROWS_AT_ONCE]].astype(np.float32) - mean) @ axes for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return np.concatenate(blocks)


def _of_classes(
    compared: _Compared, class_words: Mapping[str, str], rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], options: Options
) -> list[Finding]:
    """Return the findings, and set the scores of the images that drive them."""
    vectors, labels, ids, second, half, counted, names = compared
    members: Mapping[Any, Any] = pd.Series(labels).groupby(labels).indices
    judged = {str(label): mine for label, mine in sorted(members.items()) if compared.is_large_enough(mine, options.fewest)}
    shifts = [compare(vectors[mine], second[mine], half[mine], counted[mine]) for mine in judged.values()]
    adjusted = adjusted_p([shift.p for shift in shifts], [shift.auc >= options.least_auc for shift in shifts])
    findings = []
    for (label, mine), shift, p in zip(judged.items(), shifts, adjusted.tolist(), strict=True):
        if p > options.false_discoveries:
            continue
        strength = 2 * shift.auc - 1
        driving = rows[mine[second[mine] & (shift.score > 0)]]
        scores[driving] = np.maximum(scores[driving], strength)
        message = (
            f"Images of {class_name(label, class_words)} in {names[1]!r} differ from those in {names[0]!r}: one direction of the embedding "
            f"separates them (AUC {shift.auc:.2f}, 0.5 = chance). Compare the examples with the images in {names[0]!r}."
        )
        evidence = _evidence(shift, names) | {
            "adjusted_p": p,
            "images": [int((~second[mine]).sum()), int(second[mine].sum())],
            "pictures": [int((side & counted[mine]).sum()) for side in (~second[mine], second[mine])],
            "examples": _most_unlike(shift, second[mine], ids[mine]),
        }
        findings.append(Finding(kind=f"class_differs_in_{names[1]}", score=strength, message=message, label=label, evidence=evidence))
    return findings


def _most_unlike(shift: Shift, second: npt.NDArray[np.bool_], ids: npt.NDArray[np.object_]) -> list[str]:
    """Return the images of the second sample that are least like the first."""
    order = sorted(np.flatnonzero(second).tolist(), key=lambda at: (-float(shift.score[at]), ids[at]))
    return [str(ids[at]) for at in order[:_EXAMPLES]]


def _of_dataset(compared: _Compared, options: Options) -> tuple[list[Finding], Shift | None]:
    """Compare two splits class by class, so that different class shares do not look like different images; None if one is too small."""
    vectors, labels, ids, second, half, counted, names = compared
    if not compared.is_large_enough(np.arange(len(labels)), options.fewest):
        return [], None
    shift = compare(vectors, second, half, counted, pd.factorize(labels, use_na_sentinel=False)[0])
    if shift.low < options.least_auc_of_dataset or shift.p > options.false_discoveries:
        return [], shift
    message = (
        f"Images in {names[1]!r} differ from those in {names[0]!r} beyond their class shares: one direction of the embedding separates them "
        f"(AUC {shift.auc:.2f}, {shift.low:.2f} to {shift.high:.2f}, 0.5 = chance). Compare how the splits were collected."
    )
    evidence = _evidence(shift, names) | {"p": shift.p, "examples": _most_unlike(shift, second, ids)}
    return [Finding(kind=f"differs_in_{names[1]}", score=2 * shift.auc - 1, message=message, evidence=evidence)], shift


def _evidence(shift: Shift, names: tuple[str, str]) -> dict[str, object]:
    return {"splits": list(names), "auc": shift.auc, "interval": [shift.low, shift.high]}

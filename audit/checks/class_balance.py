"""Classes with too few distinct images, with many copies, or with uneven shares across splits.

Why it matters: a model learns frequent classes first, and a test split whose class shares differ from train measures another task. Copies count once:
a class of 500 files that are 80 distinct images has 80. Unreadable images do not count, since no model learns from them.

Blind spots: how many images are enough depends on the class; a long tail may be real. Several images of one scene count as several.

Papers: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", CVPR; Benjamini & Hochberg 1995, "Controlling the False Discovery
Rate", JRSS B; Lipton, Wang & Smola 2018, "Detecting and Correcting for Label Shift", ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_above, require_between_0_and_1, require_shares
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets
from audit.statistics.multiple_testing import adjusted_p

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Words = Mapping[str, str]
    Counts = npt.NDArray[np.int64]

KINDS = ("few_images", "fewer_pictures_than_images", "imbalance", "absent_from_split", "split_lacks_classes", "split_skew", "label_shift")
FAMILY: Family = "bias"
EVIDENCE = {
    "images": Evidence("Images"),
    "pictures": Evidence("Distinct images"),
    "unreadable": Evidence("Unreadable"),
    "ratio": Evidence("Largest to smallest class"),
    "effective_classes": Evidence("Effective number of classes"),
    "largest": Evidence("Largest classes", by_name=True),
    "smallest": Evidence("Smallest classes", by_name=True),
    "absent_from": Evidence("Absent from split"),
    "classes_absent": Evidence("Absent classes"),
    "pictures_elsewhere": Evidence("Distinct images in other splits", by_name=True),
    "of_split": Evidence("Split"),
    "share": Evidence("Share", "share"),
    "share_of_rest": Evidence("Share of the other splits", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "distance": Evidence("Total variation distance", "share"),
    "low": Evidence("Lower end of its 95% interval", "share"),
    "high": Evidence("Upper end of its 95% interval", "share"),
    "classes_skewed": Evidence("Skewed classes"),
}

_CELL = 5.0
"""Expected images below which the absence of a class from a split proves nothing."""
_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, since there is no list of judged classes to measure them on."""

    few: int = 10
    """Distinct images below which a class is reported; at least 1."""
    ratio: float = 10.0
    """Imbalance is reported from this ratio of the largest class to the smallest; above 1."""
    copies: float = 0.2
    """A class is reported where at least this share of its images are copies of others; above 0, at most 1."""
    skew: float = 1.5
    """A class is reported where its shares of a split and of the rest differ by this factor; above 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the classes reported for their share of a split; above 0, below 1."""

    def __post_init__(self) -> None:
        require_above(self, few=0, ratio=1, skew=1)
        require_shares(self, "copies", example=0.2)
        require_between_0_and_1(self, "false_discoveries")


def label_shift(counts: Counts, rest: Counts) -> tuple[float, tuple[float, float]]:
    """Compare the class shares of one split with those of the rest.

    Args:
        counts: ``[c]`` distinct images of the split.
        rest: ``[c]`` distinct images of all other splits.

    Returns:
        Estimated total variation distance of the underlying shares, 0..1, and an interval that contains it in at least 95% of cases.
    """
    total, other = int(counts.sum()), int(rest.sum())
    share, rest_share = counts / total, rest / other
    pooled = (counts + rest) / (total + other)
    error = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / total + 1 / other), 1e-30))
    away = np.abs(share - rest_share)
    observed, by_chance = away.sum() / 2, _excess(np.zeros(len(away)), error).sum() / 2
    # Sampling noise adds to every class's difference, most where the difference is small. If the differences were normal over classes, their squares
    # and those of the noise would add up. That is unknown, so the lower end assumes each difference is two standard errors smaller than observed.
    distance = np.sqrt(max(observed**2 - by_chance**2, 0.0))
    sign = np.sign(share - rest_share)
    wide = 1.96 / 2 * np.sqrt((1 - (sign @ share) ** 2) / total + (1 - (sign @ rest_share) ** 2) / other)
    low = max(observed - _excess(np.maximum(away - 2 * error, 0), error).sum() / 2 - wide, 0.0)
    high = min(observed + wide, 1.0)
    return float(np.clip(distance, low, high)), (float(low), float(high))


def _excess(size: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return by how much the mean absolute value of a number with normal error exceeds its true absolute value (folded normal distribution)."""
    from scipy.stats import norm

    z = size / error
    return np.asarray(2 * error * (norm.pdf(z) - z * norm.sf(z)), np.float64)


def skewed(counts: Counts, rest: Counts, factor: float) -> npt.NDArray[np.float64]:
    """Return ``[c, s]`` adjusted p-values of each class's share of each split.

    The p-value is twice the smaller tail of the hypergeometric distribution (Fisher's exact test). A normal approximation has too thin an upper tail
    where few images of a class are expected, and those are the classes that the factor leaves.

    Args:
        counts: ``[c, s]`` distinct images of the classes in the splits to judge.
        rest: ``[c, s]`` distinct images of the classes in all other splits.
        factor: factor by which a share must differ from that of the rest; smaller differences, and absent classes, have p = 1.
    """
    from scipy.stats import hypergeom

    of_split, of_class = counts.sum(0), counts + rest
    share, rest_share = counts / of_split, rest / rest.sum(0)
    large = (counts > 0) & ((share >= factor * rest_share) | (rest_share >= factor * share))
    drawn = (of_split + rest.sum(0), of_class, of_split)
    return adjusted_p(2 * np.minimum(hypergeom.cdf(counts, *drawn), hypergeom.sf(counts - 1, *drawn)), large)


def run(samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes and splits; images have no score."""
    members = _members(samples, duplicate_sets(pairs, len(samples)))
    if not len(members):
        return Skipped("no labels in this dataset")
    readable = members[members["readable"]]
    if not len(readable):
        return Skipped("no labelled image can be read")
    listed = members.groupby("label").size()
    images = readable.groupby("label").size()
    distinct = readable.groupby("label")["set"].nunique()
    findings = [
        *_few(listed, images, distinct, class_words, options),
        *_copies(images, distinct, class_words, options),
        *_imbalance(distinct, class_words, options),
        *_splits(readable, class_words, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _members(samples: pd.DataFrame, sets: Counts) -> pd.DataFrame:
    """Return one row per image and label; ``set`` is the image's duplicate set."""
    labels = samples["labels"].where(samples["labels"].notna(), samples["label"])
    table = pd.DataFrame(
        {
            "label": labels.to_numpy(object),
            "split": samples["split"].to_numpy(object),
            "set": sets,
            "readable": (samples["outcome"] == "ok").to_numpy(bool),
        }
    )
    return table.explode("label").dropna(subset=["label"])


def _distinct_images(number: int) -> str:
    return "1 distinct image" if number == 1 else f"{number} distinct images"


def _few(listed: pd.Series[int], images: pd.Series[int], distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    unreadable = listed - images.reindex(listed.index, fill_value=0)
    known = distinct.reindex(listed.index, fill_value=0)
    return [
        Finding(
            kind="few_images",
            score=1 - number / options.few,
            message=f"The class {class_name(str(label), words)} has {_few_text(number, total, failed, options.few)}.",
            label=str(label),
            evidence={"images": int(total), "unreadable": int(failed), "pictures": int(number)},
        )
        for label, total, failed, number in zip(listed.index, listed, unreadable, known, strict=True)
        if number < options.few
    ]


def _few_text(distinct: int, images: int, unreadable: int, few: int) -> str:
    if not distinct:
        return f"{'1 image' if images == 1 else f'{images} images'} and none can be read. Download the class again or drop it"
    failed = f" ({unreadable} of its {images} images cannot be read)" if unreadable else ""
    return f"only {_distinct_images(distinct)}{failed}; {few} are needed. Collect more, merge the class or drop it"


def _copies(images: pd.Series[int], distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    return [
        Finding(
            kind="fewer_pictures_than_images",
            score=1 - known / number,
            message=f"The class {class_name(str(label), words)} has {number} images, but only {_distinct_images(known)}. Remove the copies.",
            label=str(label),
            evidence={"images": int(number), "pictures": int(known)},
        )
        for label, number, known in zip(images.index, images, distinct, strict=True)
        if 1 - known / number >= options.copies
    ]


def _imbalance(distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    counts = distinct.to_numpy(np.float64)
    ratio = counts.max() / counts.min()
    if len(counts) < 2 or ratio < options.ratio:
        return []
    shares = counts / counts.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    ordered = distinct.sort_values(kind="stable")
    largest, smallest = str(ordered.index[-1]), str(ordered.index[0])
    message = (
        f"The largest class, {class_name(largest, words)}, has {ratio:.0f} times as many distinct images as the smallest, "
        f"{class_name(smallest, words)} ({len(counts)} classes are equivalent to {effective:.1f} of equal size). Reweight or resample by class."
    )
    evidence = {
        "ratio": ratio,
        "effective_classes": effective,
        "largest": {str(label): int(count) for label, count in ordered[::-1].head(5).items()},
        "smallest": {str(label): int(count) for label, count in ordered.head(5).items()},
    }
    return [Finding(kind="imbalance", score=min(1 - options.ratio / ratio / 2, 1.0), severity="info", message=message, evidence=evidence)]


def _splits(members: pd.DataFrame, words: Words, options: Options) -> list[Finding]:
    table = members.dropna(subset=["split"]).pivot_table(values="set", index="label", columns="split", aggfunc="nunique", fill_value=0)
    if table.shape[1] < 2:
        return []
    labels, splits, counts = table.index.astype(str).tolist(), table.columns.astype(str).tolist(), table.to_numpy(np.int64)
    rest = counts.sum(1, keepdims=True) - counts
    findings = []
    for at, split in enumerate(splits):
        absent = (counts[:, at] == 0) & (rest[:, at] > 0)
        missed = absent & (rest[:, at] / rest[:, at].sum() * counts[:, at].sum() >= _CELL)
        findings += [_absent(labels[row], split, int(rest[row, at]), words) for row in np.flatnonzero(missed).tolist()]
        lacking = np.flatnonzero(absent & ~missed)
        findings += _lacking([labels[row] for row in lacking], split, rest[lacking, at], int(counts[:, at].sum()), len(table))
    compared = list(range(len(splits)))
    if len(splits) == 2:  # the other comparison is the same
        compared.remove(int(counts.sum(0).argmax()))
    adjusted = skewed(counts[:, compared], rest[:, compared], options.skew)
    for column, at in enumerate(compared):
        findings += _skewed(labels, splits[at], counts[:, at], rest[:, at], adjusted[:, column], words, options)
    return findings


def _absent(label: str, split: str, elsewhere: int, words: Words) -> Finding:
    return Finding(
        kind="absent_from_split",
        score=1.0,
        message=(
            f"The class {class_name(label, words)} has no readable image in {split!r} but {_distinct_images(elsewhere)} in the other splits. "
            f"Add images of it to {split!r}."
        ),
        label=label,
        evidence={"absent_from": split, "pictures_elsewhere": elsewhere},
    )


def _lacking(labels: list[str], split: str, elsewhere: Counts, size: int, classes: int) -> list[Finding]:
    """Return one finding for a split that is too small to contain some classes, instead of one per class."""
    if not labels:
        return []
    message = (
        f"{len(labels)} of {classes} classes have no readable image in {split!r}; with {_distinct_images(size)}, fewer than {_CELL:.0f} of each "
        "would be expected. Enlarge the split, or do not report scores for these classes."
    )
    ordered = sorted(zip(labels, elsewhere.tolist(), strict=True), key=lambda entry: (-entry[1], entry[0]))
    evidence = {"absent_from": split, "classes_absent": len(labels), "pictures": size, "pictures_elsewhere": dict(ordered[:_MOST_NAMED])}
    return [Finding(kind="split_lacks_classes", score=len(labels) / classes, severity="info", message=message, evidence=evidence)]


def _skewed(
    labels: list[str], split: str, counts: Counts, rest: Counts, adjusted: npt.NDArray[np.float64], words: Words, options: Options
) -> list[Finding]:
    share, rest_share = counts / counts.sum(), rest / rest.sum()
    chosen = np.flatnonzero(adjusted <= options.false_discoveries)
    findings = [
        Finding(
            kind="split_skew",
            score=float(abs(share[at] - rest_share[at]) / max(share[at], rest_share[at])),
            message=(
                f"The class {class_name(labels[at], words)} is {share[at]:.2%} of {split!r} but {rest_share[at]:.2%} of the other splits. "
                "Split by class, or reweight when you compare scores."
            ),
            label=labels[at],
            evidence={"of_split": split, "share": float(share[at]), "share_of_rest": float(rest_share[at]), "adjusted_p": float(adjusted[at])},
        )
        for at in chosen.tolist()
    ]
    distance, (low, high) = label_shift(counts, rest)
    if len(chosen) and low > 0:
        message = (
            f"Class shares in {split!r} differ from the other splits (total variation {distance:.1%}, {low:.1%} to {high:.1%}). "
            "Split by class, or reweight when you compare scores."
        )
        evidence = {"of_split": split, "distance": distance, "low": low, "high": high, "classes_skewed": len(chosen)}
        findings.append(Finding(kind="label_shift", score=min(distance, 1.0), message=message, evidence=evidence))
    return findings

"""Classes with too few pictures, fewer than their files suggest, or unevenly dealt to the splits.

A model learns the frequent classes first, and a test split with other shares than train measures another task. Copies count once here: a class of 500
files that are 80 pictures is a class of 80. What cannot be read is no picture: no model learns from it.

Blind spots: how many pictures are enough depends on the class; a long tail may be the world's own. Pictures of one scene count as several.

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
    "pictures": Evidence("Different pictures"),
    "unreadable": Evidence("Unreadable"),
    "ratio": Evidence("Ratio"),
    "effective_classes": Evidence("Effective classes"),
    "largest": Evidence("Largest", by_name=True),
    "smallest": Evidence("Smallest", by_name=True),
    "absent_from": Evidence("Absent from"),
    "classes_absent": Evidence("Classes absent"),
    "pictures_elsewhere": Evidence("Pictures elsewhere", by_name=True),
    "of_split": Evidence("Of split"),
    "share": Evidence("Share", "share"),
    "share_of_rest": Evidence("Share of the other splits", "share"),
    "adjusted_p": Evidence("p, corrected for many tests", "p"),
    "distance": Evidence("Distance", "share"),
    "low": Evidence("Low", "share"),
    "high": Evidence("High", "share"),
    "classes_skewed": Evidence("Classes skewed"),
}

_CELL = 5.0
"""Expected images below which it says nothing that a class is absent from a split."""
_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is few and what is uneven; conventions, since no list of judged classes exists to measure them on."""

    few: int = 10
    """Pictures below which a class is nearly empty, at least 1."""
    ratio: float = 10.0
    """Report imbalance where the largest class has this many times the pictures of the smallest, above 1."""
    copies: float = 0.2
    """Report a class of whose images this share or more are copies of others of it, above 0 and at most 1."""
    skew: float = 1.5
    """Report a class whose share of a split is this many times larger or smaller than its share of the rest, above 1."""
    false_discoveries: float = 0.05
    """Of the classes reported for their share of a split, at most this share is expected to be chance; above 0 and below 1."""

    def __post_init__(self) -> None:
        require_above(self, few=0, ratio=1, skew=1)
        require_shares(self, "copies", example=0.2)
        require_between_0_and_1(self, "false_discoveries")


def label_shift(counts: Counts, rest: Counts) -> tuple[float, tuple[float, float]]:
    """Compare the class shares of one split with those of the rest.

    Args:
        counts: ``[c]`` pictures of the split.
        rest: ``[c]`` pictures of all other splits.

    Returns:
        Total variation distance of the shares that were drawn from, 0..1; and an interval that holds it in 95% of cases or more.
    """
    total, other = int(counts.sum()), int(rest.sum())
    share, rest_share = counts / total, rest / other
    pooled = (counts + rest) / (total + other)
    error = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / total + 1 / other), 1e-30))
    away = np.abs(share - rest_share)
    observed, by_chance = away.sum() / 2, _excess(np.zeros(len(away)), error).sum() / 2
    # Drawing adds to every class's difference, the more so the smaller it is. Were differences normal over classes, theirs and chance's would add up
    # as squares do; how small they are is not known, so the lower end allows each to be two standard errors smaller than it looks.
    distance = np.sqrt(max(observed**2 - by_chance**2, 0.0))
    sign = np.sign(share - rest_share)
    wide = 1.96 / 2 * np.sqrt((1 - (sign @ share) ** 2) / total + (1 - (sign @ rest_share) ** 2) / other)
    low = max(observed - _excess(np.maximum(away - 2 * error, 0), error).sum() / 2 - wide, 0.0)
    high = min(observed + wide, 1.0)
    return float(np.clip(distance, low, high)), (float(low), float(high))


def _excess(size: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return by how much the mean size of a number that errs normally exceeds the number's own size (folded normal distribution)."""
    from scipy.stats import norm

    z = size / error
    return np.asarray(2 * error * (norm.pdf(z) - z * norm.sf(z)), np.float64)


def skewed(counts: Counts, rest: Counts, factor: float) -> npt.NDArray[np.float64]:
    """Return ``[c, s]`` how likely chance deals a split a share of a class that is so far off, adjusted for the number of classes and splits.

    Twice the smaller tail of the hypergeometric distribution (Fisher's exact test). Where few images of a class are expected, a normal one has too
    thin a tail on the side of more of them, and there the factor leaves nothing but that side.

    Args:
        counts: ``[c, s]`` pictures of the classes in the splits to judge.
        rest: ``[c, s]`` pictures of the classes in all other splits.
        factor: how many times larger or smaller a share must be than that of the rest; what is less, and a class that is absent, has 1.
    """
    from scipy.stats import hypergeom

    of_split, of_class = counts.sum(0), counts + rest
    share, rest_share = counts / of_split, rest / rest.sum(0)
    large = (counts > 0) & ((share >= factor * rest_share) | (rest_share >= factor * share))
    drawn = (of_split + rest.sum(0), of_class, of_split)
    return adjusted_p(2 * np.minimum(hypergeom.cdf(counts, *drawn), hypergeom.sf(counts - 1, *drawn)), large)


def run(samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes and splits; findings are about classes and the dataset, so images have no score."""
    members = _members(samples, duplicate_sets(pairs, len(samples)))
    if not len(members):
        return Skipped("no labels in this dataset")
    readable = members[members["readable"]]
    if not len(readable):
        return Skipped("no image with a label can be read")
    listed = members.groupby("label").size()
    images = readable.groupby("label").size()
    distinct = readable.groupby("label")["picture"].nunique()
    findings = [
        *_few(listed, images, distinct, class_words, options),
        *_copies(images, distinct, class_words, options),
        *_imbalance(distinct, class_words, options),
        *_splits(readable, class_words, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _members(samples: pd.DataFrame, pictures: Counts) -> pd.DataFrame:
    """One line per image and label it carries."""
    labels = samples["labels"].where(samples["labels"].notna(), samples["label"])
    table = pd.DataFrame(
        {
            "label": labels.to_numpy(object),
            "split": samples["split"].to_numpy(object),
            "picture": pictures,
            "readable": (samples["outcome"] == "ok").to_numpy(bool),
        }
    )
    return table.explode("label").dropna(subset=["label"])


def _pictures(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _few(listed: pd.Series[int], images: pd.Series[int], distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    unreadable = listed - images.reindex(listed.index, fill_value=0)
    pictures = distinct.reindex(listed.index, fill_value=0)
    return [
        Finding(
            kind="few_images",
            score=1 - number / options.few,
            message=f"The class {class_name(str(label), words)} has {_told_few(number, total, failed, options.few)}.",
            label=str(label),
            evidence={"images": int(total), "unreadable": int(failed), "pictures": int(number)},
        )
        for label, total, failed, number in zip(listed.index, listed, unreadable, pictures, strict=True)
        if number < options.few
    ]


def _told_few(pictures: int, images: int, unreadable: int, few: int) -> str:
    if not pictures:
        told = "1 image, which cannot be read" if images == 1 else f"{images} images, none of which can be read"
        return f"{told}; fetch the class again or leave it out"
    failed = f" ({unreadable} of its {images} images cannot be read)" if unreadable else ""
    return f"{_pictures(pictures)}, fewer than {few}{failed}; collect more, merge it or leave it out"


def _copies(images: pd.Series[int], distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    return [
        Finding(
            kind="fewer_pictures_than_images",
            score=1 - pictures / number,
            message=f"The class {class_name(str(label), words)} has {number} images but {_pictures(pictures)}; count the copies once.",
            label=str(label),
            evidence={"images": int(number), "pictures": int(pictures)},
        )
        for label, number, pictures in zip(images.index, images, distinct, strict=True)
        if 1 - pictures / number >= options.copies
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
        f"The largest class, {class_name(largest, words)}, has {ratio:.0f} times the pictures of the smallest, {class_name(smallest, words)}; "
        f"{len(counts)} classes weigh as much as {effective:.1f} of equal size. Weigh or sample by class."
    )
    evidence = {
        "ratio": ratio,
        "effective_classes": effective,
        "largest": {str(label): int(count) for label, count in ordered[::-1].head(5).items()},
        "smallest": {str(label): int(count) for label, count in ordered.head(5).items()},
    }
    return [Finding(kind="imbalance", score=min(1 - options.ratio / ratio / 2, 1.0), severity="info", message=message, evidence=evidence)]


def _splits(members: pd.DataFrame, words: Words, options: Options) -> list[Finding]:
    table = members.dropna(subset=["split"]).pivot_table(values="picture", index="label", columns="split", aggfunc="nunique", fill_value=0)
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
    if len(splits) == 2:  # one comparison says all
        compared.remove(int(counts.sum(0).argmax()))
    adjusted = skewed(counts[:, compared], rest[:, compared], options.skew)
    for place, at in enumerate(compared):
        findings += _skewed(labels, splits[at], counts[:, at], rest[:, at], adjusted[:, place], words, options)
    return findings


def _absent(label: str, split: str, elsewhere: int, words: Words) -> Finding:
    return Finding(
        kind="absent_from_split",
        score=1.0,
        message=(
            f"The class {class_name(label, words)} has no readable image in {split!r} and {_pictures(elsewhere)} elsewhere; "
            "nothing can be said of it there."
        ),
        label=label,
        evidence={"absent_from": split, "pictures_elsewhere": elsewhere},
    )


def _lacking(labels: list[str], split: str, elsewhere: Counts, pictures: int, classes: int) -> list[Finding]:
    """One finding about a split that is too small to hold some classes: one for each of them would only say so again."""
    if not labels:
        return []
    message = (
        f"{len(labels)} of {classes} classes have no readable image in {split!r}, where fewer than {_CELL:.0f} of each would be expected of "
        f"{_pictures(pictures)}; nothing can be said of them there, so enlarge it or leave them out."
    )
    ordered = sorted(zip(labels, elsewhere.tolist(), strict=True), key=lambda entry: (-entry[1], entry[0]))
    evidence = {
        "absent_from": split,
        "classes_absent": len(labels),
        "pictures": pictures,
        "pictures_elsewhere": dict(ordered[:_MOST_NAMED]),
    }
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
                f"The class {class_name(labels[at], words)} is {share[at]:.2%} of {split!r} but {rest_share[at]:.2%} of the rest; "
                "split by class, or weigh when comparing numbers."
            ),
            label=labels[at],
            evidence={"of_split": split, "share": float(share[at]), "share_of_rest": float(rest_share[at]), "adjusted_p": float(adjusted[at])},
        )
        for at in chosen.tolist()
    ]
    distance, (low, high) = label_shift(counts, rest)
    if len(chosen) and low > 0:
        message = (
            f"{split!r} deals its classes otherwise than the rest: {distance:.1%} of its labels ({low:.1%} to {high:.1%}) would have to change; "
            "split by class, or weigh when comparing numbers."
        )
        evidence = {"of_split": split, "distance": distance, "low": low, "high": high, "classes_skewed": len(chosen)}
        findings.append(Finding(kind="label_shift", score=min(distance, 1.0), message=message, evidence=evidence))
    return findings

"""Classes with too few pictures, fewer than their files suggest, or unevenly dealt to the splits.

A model learns the frequent classes first, and a test split with other shares than train measures another task. Copies count once here: a class of 500
files that are 80 pictures is a class of 80.

Blind spots: how many pictures are enough depends on the class; a long tail may be the world's own. Pictures of one scene count as several.

Papers: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", CVPR; Benjamini & Hochberg 1995, "Controlling the False Discovery
Rate", JRSS B; Lipton, Wang & Smola 2018, "Detecting and Correcting for Label Shift", ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.checks.base import Finding, Result, Skipped
from audit.checks.class_names import class_name
from audit.checks.discoveries import adjusted_p
from audit.duplicates.pictures import pictures_of
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Words = Mapping[str, str]

_RESAMPLES = 500
_CELL = 5.0
"""Expected images below which a class's share of a split says nothing."""


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
    """Of the classes reported for their share of a split, at most this share is expected to be chance, 0..1."""

    def __post_init__(self) -> None:
        for name, low in (("few", 0), ("ratio", 1), ("copies", 0), ("skew", 1), ("false_discoveries", 0)):
            if not getattr(self, name) > low:
                raise ConfigError(name, f"{getattr(self, name)} is too small", f"use a number above {low}")


def label_shift(
    counts: npt.NDArray[np.int64], rest: npt.NDArray[np.int64], seed: int = 0
) -> tuple[float, tuple[float, float], npt.NDArray[np.float64]]:
    """Compare the class shares of one split with those of the rest.

    Args:
        counts: ``[c]`` pictures of the split.
        rest: ``[c]`` pictures of all other splits.
        seed: of the resampling.

    Returns:
        Total variation distance beyond what sampling alone gives, 0..1; its 95% interval (parametric bootstrap); and ``[c]`` p-values of each class's
        share (two-sided, normal approximation of two proportions), 1 where too few images are expected to tell.
    """
    from scipy.stats import norm

    total, other = int(counts.sum()), int(rest.sum())
    share, rest_share = counts / total, rest / other
    pooled = (counts + rest) / (total + other)
    random = np.random.default_rng(seed)

    def distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        drawn = random.multinomial(total, first, _RESAMPLES) / total
        against = random.multinomial(other, second, _RESAMPLES) / other
        return np.asarray(np.abs(drawn - against).sum(1) / 2)

    by_chance = float(distance(pooled, pooled).mean())
    observed = float(np.abs(share - rest_share).sum() / 2)
    spread = distance(share, rest_share)
    low, high = (float(max(value - (spread.mean() - observed) - by_chance, 0)) for value in np.quantile(spread, [0.025, 0.975]))
    error = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / total + 1 / other), 1e-30))
    p = 2 * norm.sf(np.abs(share - rest_share) / error)
    return max(observed - by_chance, 0.0), (low, high), np.where(pooled * min(total, other) >= _CELL, p, 1.0)


def run(samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes and splits; findings are about classes and the dataset, so images have no score."""
    members = _members(samples, pictures_of(pairs, len(samples)))
    if not len(members):
        return Skipped("no labels in this dataset")
    images = members.groupby("label").size()
    distinct = members.groupby("label")["picture"].nunique()
    findings = [
        *_few(images, distinct, class_words, options),
        *_copies(images, distinct, class_words, options),
        *_imbalance(distinct, class_words, options),
        *_splits(members, class_words, options),
    ]
    return Result(np.full(len(samples), np.nan, np.float32), findings)


def _members(samples: pd.DataFrame, pictures: npt.NDArray[np.int64]) -> pd.DataFrame:
    """One line per image and label it carries."""
    labels = samples["labels"].where(samples["labels"].notna(), samples["label"])
    table = pd.DataFrame({"label": labels.to_numpy(object), "split": samples["split"].to_numpy(object), "picture": pictures})
    return table.explode("label").dropna(subset=["label"])


def _pictures(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _few(images: pd.Series[int], distinct: pd.Series[int], words: Words, options: Options) -> list[Finding]:
    return [
        Finding(
            kind="few_images",
            score=1 - number / options.few,
            message=(
                f"The class {class_name(str(label), words)} has {_pictures(number)}, fewer than {options.few}; "
                "collect more, merge it or leave it out."
            ),
            label=str(label),
            evidence={"images": int(total), "pictures": int(number)},
        )
        for label, total, number in zip(distinct.index, images, distinct, strict=True)
        if number < options.few
    ]


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
    findings = []
    for split in table.columns:
        counts, rest = table[split].to_numpy(np.int64), table.drop(columns=split).sum(axis=1).to_numpy(np.int64)
        if not rest.sum():
            continue
        findings += [_absent(str(table.index[at]), str(split), int(rest[at]), words) for at in np.flatnonzero((counts == 0) & (rest > 0)).tolist()]
        if table.shape[1] > 2 or split != table.sum().idxmax():  # of two splits, one comparison says all
            findings += _skewed(table.index.astype(str).tolist(), str(split), counts, rest, words, options)
    return findings


def _absent(label: str, split: str, elsewhere: int, words: Words) -> Finding:
    return Finding(
        kind="absent_from_split",
        score=1.0,
        message=(
            f"The class {class_name(label, words)} has no image in {split!r} and {_pictures(elsewhere)} elsewhere; nothing can be said of it there."
        ),
        label=label,
        evidence={"absent_from": split, "pictures_elsewhere": elsewhere},
    )


def _skewed(
    labels: list[str], split: str, counts: npt.NDArray[np.int64], rest: npt.NDArray[np.int64], words: Words, options: Options
) -> list[Finding]:
    distance, (low, high), p = label_shift(counts, rest)
    share, rest_share = counts / counts.sum(), rest / rest.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = share / rest_share
    wide = (factor >= options.skew) | (factor <= 1 / options.skew)
    adjusted = adjusted_p(p, wide & (counts > 0))
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
    if len(chosen) and low > 0:
        message = (
            f"{split!r} deals its classes otherwise than the rest: {distance:.1%} of its labels ({low:.1%} to {high:.1%}) would have to change; "
            "split by class, or weigh when comparing numbers."
        )
        evidence = {"of_split": split, "distance": distance, "low": low, "high": high, "classes_skewed": len(chosen)}
        findings.append(Finding(kind="label_shift", score=min(distance, 1.0), message=message, evidence=evidence))
    return findings

"""Splits whose pictures differ: a probe can tell train from test, for the whole dataset or for one class.

Numbers of a test split speak for the training task only where both show the same kind of pictures. The known case is ImageNet's *canoe*, whose
validation images are kayaks.

Embeddings of a class are compared between the largest split and each other one: the distance of the means against what shuffling the splits would
give, with the false discovery rate controlled over all classes; and how well a single direction, learned on one half, tells the splits apart on the
other. The dataset as a whole is compared after each class's mean was taken away, so that other class shares (see ``class_balance``) do not count.

Blind spots: what the backbone does not see, such as a label standard that differs; a shift of spread alone, with the same mean; classes with few
images in a split. A shift may be meant: a test set from another year or place.

Papers: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR (the statistic, with a linear kernel); Lopez-Paz & Oquab 2017, "Revisiting Classifier
Two-Sample Tests", ICLR; Hanley & McNeil 1982, "The Meaning and Use of the Area under a ROC Curve", Radiology (the interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from audit.checks.base import Finding, Result, Skipped
from audit.checks.class_halves import second_half
from audit.checks.class_names import class_name
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_DIRECTIONS = 64
_FIT_ROWS = 5_000
_ROWS_AT_ONCE = 8192
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What counts as a shift; conventions, as no judged list of shifted classes exists."""

    least_auc: float = 0.75
    """Area under the ROC curve, 0.5 = chance, from which the pictures of a class differ between splits; above 0.5 and at most 1."""
    least_auc_of_dataset: float = 0.6
    """The same for the dataset as a whole; the lower end of its interval must reach it."""
    false_discoveries: float = 0.05
    """Of the classes reported, at most this share is expected to be chance; above 0 and below 1."""
    fewest: int = 10
    """Images of a class that each of the two splits needs, at least 4."""

    def __post_init__(self) -> None:
        ranges = {"least_auc": (0.5, 1), "least_auc_of_dataset": (0.5, 1), "false_discoveries": (0, 1), "fewest": (3, float("inf"))}
        for name, (low, high) in ranges.items():
            if not low < getattr(self, name) <= high:
                raise ConfigError(name, f"{getattr(self, name)} is out of range", f"use a number above {low:g}, up to {high:g}")


class Shift(NamedTuple):
    """How two samples of vectors differ."""

    auc: float
    """Area under the ROC curve of one direction learned on one half and measured on the other, 0..1; 0.5 = not at all."""
    low: float
    high: float
    """95% interval of the area."""
    p: float
    """That the means would be so far apart by chance."""
    score: Floats
    """``[m]`` how much each vector is like the second sample rather than the first; out of sample."""


def compare(vectors: Floats, second: npt.NDArray[np.bool_], half: npt.NDArray[np.bool_]) -> Shift:
    """Compare two samples of vectors.

    Args:
        vectors: float32 ``[m, k]``.
        second: ``[m]`` which vectors are the second sample; both samples need vectors in both halves.
        half: ``[m]`` which half a vector belongs to.
    """
    score = np.zeros(len(vectors), np.float32)
    for side in (False, True):
        learned = half == side
        direction = vectors[learned & second].mean(0) - vectors[learned & ~second].mean(0)
        spread = vectors[learned].var(0) + 1e-12
        direction = direction / (spread + spread.mean())
        projected = vectors[~learned] @ direction
        score[~learned] = (projected - projected.mean()) / (projected.std() + 1e-12)
    areas = [_area(score[(half == side) & second], score[(half == side) & ~second]) for side in (False, True)]
    auc, n, m = float(np.mean(areas)), int(second.sum()), int((~second).sum())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    error = np.sqrt(max(auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2), 0) / (n * m))
    return Shift(auc, max(auc - 1.96 * error, 0.0), min(auc + 1.96 * error, 1.0), _chance_of_distance(vectors, second), score)


def _area(own: Floats, other: Floats) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([own, other]))[: len(own)]
    return float((ranks.sum() - len(own) * (len(own) + 1) / 2) / (len(own) * len(other)))


def _chance_of_distance(vectors: Floats, second: npt.NDArray[np.bool_]) -> float:
    """Return how probably shuffled samples have means this far apart: the squared distance against a gamma law with the moments of shuffling."""
    from scipy.stats import gamma

    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    distance = float(((centred[second].mean(0) - centred[~second].mean(0)) ** 2).sum())
    covariance = centred.T @ centred / (len(vectors) - 1)
    scale = 1 / second.sum() + 1 / (~second).sum()
    mean, variance = scale * float(np.trace(covariance)), 2 * scale**2 * float((covariance**2).sum())
    return float(gamma.sf(distance, a=mean**2 / variance, scale=variance / mean)) if variance > 0 else 1.0


def run(samples: pd.DataFrame, embeddings: npt.NDArray[np.float16], class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report splits and classes that differ; images of a shifted class that drive it have a score, other judged images 0."""
    usable = ((samples["outcome"] == "ok") & samples["split"].notna()).to_numpy(bool)
    splits = samples["split"].to_numpy(object)
    sizes = samples.loc[usable, "split"].value_counts()
    if len(sizes) < 2:
        return Skipped("all images are in one split" if len(sizes) else "no splits in this dataset")
    ranked = sorted(sizes.index, key=lambda split: (-sizes[split], split))
    if sizes[ranked[1]] < options.fewest:
        return Skipped(f"fewer than two splits have {options.fewest} images")
    rows = np.flatnonzero(usable)
    content = samples["content_id"].to_numpy(object)[rows]
    half = second_half(samples["content_id"].iloc[rows])
    vectors = _reduced(embeddings, rows, content)
    labels, ids = (samples[name].to_numpy(object)[rows] for name in ("label", "sample_id"))
    scores = np.full(len(samples), np.nan, np.float32)
    scores[rows] = 0
    findings = []
    for split in ranked[1:]:
        pair = np.isin(splits[rows], [ranked[0], split])
        second = splits[rows] == split
        found = _classes(vectors, labels, second, half, pair, options)
        findings += _of_classes(found, ids, rows, second, (ranked[0], split), class_words, scores, options)
        findings += _of_dataset(vectors, labels, ids, second, half, pair, (ranked[0], split), options)
    return Result(scores, findings)


def _reduced(embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], content: npt.NDArray[np.object_]) -> Floats:
    """Return the embeddings' first principal components, each divided by the fourth root of its variance, fitted on a sample chosen by content."""
    from scipy.linalg import eigh

    chosen = np.sort(np.argsort(content, kind="stable")[:_FIT_ROWS])
    learned = embeddings[rows[chosen]].astype(np.float32)
    mean = learned.mean(0)
    learned -= mean
    last = learned.shape[1] - 1
    variance, axes = eigh(learned.T @ learned / max(len(learned), 1), subset_by_index=(max(last + 1 - _DIRECTIONS, 0), last))
    axes = (axes * np.maximum(variance, 1e-9) ** -0.25).astype(np.float32)
    blocks = [(embeddings[rows[start : start + _ROWS_AT_ONCE]].astype(np.float32) - mean) @ axes for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return np.concatenate(blocks)


def _judgeable(second: npt.NDArray[np.bool_], half: npt.NDArray[np.bool_], fewest: int) -> bool:
    sides = [int((second & half).sum()), int((second & ~half).sum()), int((~second & half).sum()), int((~second & ~half).sum())]
    return min(sides) >= 2 and min(sides[0] + sides[1], sides[2] + sides[3]) >= fewest


def _classes(
    vectors: Floats,
    labels: npt.NDArray[np.object_],
    second: npt.NDArray[np.bool_],
    half: npt.NDArray[np.bool_],
    pair: npt.NDArray[np.bool_],
    options: Options,
) -> dict[str, tuple[npt.NDArray[np.int64], Shift]]:
    labelled = np.flatnonzero(pair & pd.notna(labels))
    found = {}
    for label, places in sorted(pd.Series(labelled).groupby(labels[labelled]).groups.items()):
        mine = labelled[np.asarray(places)]
        if _judgeable(second[mine], half[mine], options.fewest):
            found[str(label)] = mine, compare(vectors[mine], second[mine], half[mine])
    return found


def _of_classes(
    found: dict[str, tuple[npt.NDArray[np.int64], Shift]],
    ids: npt.NDArray[np.object_],
    rows: npt.NDArray[np.int64],
    second: npt.NDArray[np.bool_],
    names: tuple[str, str],
    class_words: Mapping[str, str],
    scores: npt.NDArray[np.float32],
    options: Options,
) -> list[Finding]:
    from scipy.stats import false_discovery_control

    if not found:
        return []
    adjusted = false_discovery_control([shift.p for _, shift in found.values()])
    findings = []
    for (label, (mine, shift)), p in zip(found.items(), adjusted.tolist(), strict=True):
        if p > options.false_discoveries or shift.auc < options.least_auc:
            continue
        strength = 2 * shift.auc - 1
        driving = mine[second[mine] & (shift.score > 0)]
        scores[rows[driving]] = np.maximum(scores[rows[driving]], strength)
        message = (
            f"Pictures of {class_name(label, class_words)} in {names[1]!r} differ from those in {names[0]!r}: one direction tells them apart "
            f"(area under the ROC curve {shift.auc:.2f}, 0.5 is chance); compare the two."
        )
        evidence = _evidence(shift, names) | {
            "adjusted_p": p,
            "images": [int((~second[mine]).sum()), int(second[mine].sum())],
            "examples": _most_unlike(shift, second[mine], ids[mine]),
        }
        findings.append(Finding(kind=f"class_differs_in_{names[1]}", score=strength, message=message, label=label, evidence=evidence))
    return findings


def _most_unlike(shift: Shift, second: npt.NDArray[np.bool_], ids: npt.NDArray[np.object_]) -> list[str]:
    """Return the images of the second sample that are least like the first."""
    order = sorted(np.flatnonzero(second).tolist(), key=lambda at: (-float(shift.score[at]), ids[at]))
    return [str(ids[at]) for at in order[:_EXAMPLES]]


def _of_dataset(
    vectors: Floats,
    labels: npt.NDArray[np.object_],
    ids: npt.NDArray[np.object_],
    second: npt.NDArray[np.bool_],
    half: npt.NDArray[np.bool_],
    pair: npt.NDArray[np.bool_],
    names: tuple[str, str],
    options: Options,
) -> list[Finding]:
    mine = np.flatnonzero(pair)
    # A class's mean is that of both splits at equal weight: other class shares must not look like other pictures.
    codes = pd.Series(labels[mine]).fillna("").to_numpy(object)
    centred = vectors[mine].copy()
    for places in pd.Series(codes).groupby(codes).indices.values():
        sides = [places[second[mine[places]] == side] for side in (False, True)]
        centres = [centred[side].mean(0) for side in sides if len(side)]
        centred[places] -= np.mean(centres, axis=0) if len(centres) == 2 else centred[places].mean(0)
    if not _judgeable(second[mine], half[mine], options.fewest):
        return []
    shift = compare(centred, second[mine], half[mine])
    if shift.low < options.least_auc_of_dataset or shift.p > options.false_discoveries:
        return []
    message = (
        f"Pictures in {names[1]!r} differ from those in {names[0]!r} beyond their class shares: one direction tells them apart "
        f"(area under the ROC curve {shift.auc:.2f}, {shift.low:.2f} to {shift.high:.2f}); compare how the splits were collected."
    )
    evidence = _evidence(shift, names) | {"p": shift.p, "examples": _most_unlike(shift, second[mine], ids[mine])}
    return [Finding(kind=f"differs_in_{names[1]}", score=2 * shift.auc - 1, message=message, evidence=evidence)]


def _evidence(shift: Shift, names: tuple[str, str]) -> dict[str, object]:
    return {"splits": list(names), "auc": shift.auc, "interval": [shift.low, shift.high]}

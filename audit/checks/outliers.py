"""Images unlike all others: strays from another dataset, placeholders, renderings among photos, unique images.

Why it matters: an outlier often does not belong in the dataset; it may also be the rare case that a model needs most.

How it works: an image is judged by its similarity to its k-th nearest neighbor (Ramaswamy et al. 2000), compared with what is usual in its class.
Copies and verified shots of the same scene are excluded from its neighbors, so that they do not vouch for each other.

Blind spots: a group of strays larger than the number of neighbors looks normal. An image with as many copies as a run stores neighbors (20) has no
others and is not judged. What is unlike depends on the backbone.

Paper: Ramaswamy, Rastogi & Shim 2000, "Efficient Algorithms for Mining Outliers from Large Data Sets", SIGMOD; modified z-score: Iglewicz & Hoaglin
1993.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_above
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

KINDS = ("outlier",)
FAMILY: Family = "quality"
EVIDENCE = {
    "similarity": Evidence("Similarity to the neighbors"),
    "usual_similarity": Evidence("Usual similarity"),
    "deviations": Evidence("Robust standard deviations beyond the median"),
    "nearest": Evidence("Nearest image"),
    "nearest_label": Evidence("Label of the nearest image"),
}


_FAR_BEYOND = 5.0
"""Deviations beyond the threshold from which an outlier is more than a rare image of its class: a warning, not a note."""

_LEAST_SPREAD = 0.02
"""Smallest spread of distances (1 - cosine) assumed; below it, rounding would become outliers."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds."""

    threshold: float = 5.0
    """Robust standard deviations beyond the median distance from which an image is reported; above 0."""
    least_distance: float = 0.3
    """An image closer than this to its neighbor (1 - cosine, 0..2) is never an outlier."""
    neighbor: int = 3
    """Which nearest neighbor is used, at least 1; with fewer neighbors, the farthest of them."""
    fewest: int = 10
    """Classes with fewer images are compared with the whole dataset, which needs as many; at least 1."""

    def __post_init__(self) -> None:
        require_above(self, threshold=0, neighbor=0, fewest=0)


def kth_distance(
    neighbors: npt.NDArray[np.int32], similarities: npt.NDArray[np.float32], pairs: pd.DataFrame, k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return each sample's distance to its k-th nearest eligible neighbor, and its nearest eligible neighbor.

    Images of the sample's duplicate set, verified shots of the same scene, and copies of those are not eligible: their similarity does not show that
    the image belongs. Scenes are not chained: of a film, only verified frames are excluded, or a class of one film would have no neighbors.

    Args:
        neighbors: int32 ``[n, m]``, -1 for none.
        similarities: float32 ``[n, m]`` cosines, descending.
        pairs: columns of ``audit.tables.PAIRS``.
        k: at least 1.

    Returns:
        float32 ``[n]`` of 1 - cosine, NaN where there is no neighbor; int64 ``[n]`` rows, -1 for none.
    """
    n, width = neighbors.shape
    distance, nearest = np.full(n, np.nan, np.float32), np.full(n, -1, np.int64)
    usable = (neighbors >= 0) & np.isfinite(similarities)
    if len(pairs):
        sets = duplicate_sets(pairs, n)
        sides = sets[pairs[["i", "j"]].to_numpy(np.int64)]
        alike = np.unique(np.concatenate([sides, sides[:, ::-1]]) @ np.array([n, 1]))
        affected = np.flatnonzero(np.isin(sets, sides))
        own, other = sets[affected, None], sets[neighbors[affected]]
        usable[affected] &= (own != other) & ~np.isin(own * n + other, alike)
    if not width:
        return distance, nearest
    rank = np.cumsum(usable, axis=1)
    some = np.flatnonzero(rank[:, -1] > 0)
    at = (rank[some] >= np.minimum(k, rank[some, -1])[:, None]).argmax(axis=1)
    distance[some] = 1 - similarities[some, at]
    nearest[some] = neighbors[some, usable[some].argmax(axis=1)]
    return distance, nearest


def robust_z(values: npt.NDArray[np.float32], least_spread: float) -> tuple[npt.NDArray[np.float64], float]:
    """Return robust standard deviations of each value above the median, and the median; NaN stays NaN."""
    from scipy.stats import median_abs_deviation

    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return np.full(len(values), np.nan), float("nan")
    median = float(np.median(known))
    spread = max(float(median_abs_deviation(known, scale="normal")), least_spread)
    return (values.astype(np.float64) - median) / spread, median


def run(
    samples: pd.DataFrame,
    neighbors: npt.NDArray[np.int32],
    similarities: npt.NDArray[np.float32],
    pairs: pd.DataFrame,
    class_words: Mapping[str, str],
    *,
    options: Options,
) -> Result | Skipped:
    """Report images far from all others; failed images and images without neighbors have no score."""
    if len(samples) < options.fewest:
        return Skipped(f"too few images: {len(samples)}, and {options.fewest} are needed")
    distance, nearest = kth_distance(neighbors, similarities, pairs, options.neighbor)
    z, overall = robust_z(distance, _LEAST_SPREAD)
    median = np.full(len(samples), overall)
    labels = samples["label"].to_numpy(object)
    for _, rows in sorted(samples.groupby("label").indices.items()):
        if np.isfinite(distance[rows]).sum() >= options.fewest:
            z[rows], median[rows] = robust_z(distance[rows], _LEAST_SPREAD)
    with np.errstate(over="ignore"):
        scores = (1 / (1 + np.exp(-(z - options.threshold)))).astype(np.float32)
    scores[(samples["outcome"] != "ok").to_numpy(bool)] = np.nan
    flagged = np.flatnonzero((z > options.threshold) & (distance > options.least_distance) & np.isfinite(scores))
    findings = []
    for row in flagged.tolist():
        label = labels[nearest[row]] if nearest[row] >= 0 else None
        label = label if isinstance(label, str) else None
        own = f"images labelled {class_name(labels[row], class_words)}" if isinstance(labels[row], str) else "images of this dataset"
        message = (
            f"Unlike the rest: similarity to its neighbors is {1 - distance[row]:.2f} (typical for {own}: {1 - median[row]:.2f}). "
            "Check that it belongs here."
        )
        severity = "warning" if z[row] >= options.threshold + _FAR_BEYOND else "info"
        evidence = {
            "similarity": 1 - distance[row],
            "usual_similarity": 1 - median[row],
            "deviations": z[row],
            "nearest": samples["sample_id"].iloc[nearest[row]],
            "nearest_label": label,
        }
        findings.append(Finding(kind="outlier", score=float(scores[row]), severity=severity, message=message, row=row, evidence=evidence))
    return Result(scores, findings)

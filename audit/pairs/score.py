"""Score verified pairs, classify their relation, and choose the score from which pairs are kept.

``docs/pairs.md`` describes how the score was fitted and how good it is; ``benchmarks/duplicates.py`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.pairs.verification import Evidence

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Logistic regression on judged CIFAR-10 pairs and on candidates that align badly.
_DETAIL, _LUMA, _RESIDUAL, _MARGIN, _INTERCEPT = 5.22, 9.13, -18.19, 27.73, -13.96

_LOGIT_ERROR = 0.72
"""Standard error of a kept pair's logit, from 40 fits on images drawn with replacement."""

_NONE_SEEN = 3.0
"""Upper limit of the number of wrong pairs if none is expected (rule of three, 95%)."""

LEAST_SCORE = 0.5
"""Pairs below this score are never kept: they are more likely wrong than right."""

SAME_ENCODING_DIFFERENCE = 0.03
"""Mean absolute RGB difference of aligned thumbnails up to which an unmoved pair is a re-encoding; recompression to JPEG quality 30 stays below."""

_SAME_ENCODING_LOCALLY = 0.04
"""The same in the cell where the difference is largest; nine of ten text overlays exceed it, recompression to quality 30 stays below."""

_SAME_PLACE = 0.03
"""Share of the side by which a corner may move in a re-encoding: one pixel of a thumbnail."""

_SAME_DETAILS = 0.5
"""Correlation of details below which two aligned images are two shots of one scene rather than an edited copy."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The score from which pairs are kept, and the expected precision of these."""

    least_score: float
    pairs: int
    """Verified pairs kept, without identical bytes and pixels, which are certain."""
    expected_precision: float | None
    """None if no verified pair is kept."""
    interval: tuple[float, float] | None
    """95% interval: the uncertainty of the score's fit, and of counting this many pairs."""


def margin(cosine: Floats, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], similarities: Floats) -> Floats:
    """Return by how much a pair is nearer than the farther half of either image's neighbors; 0 if its cosine is unknown.

    Cosines of unrelated images depend on the backbone and the kind of image; the margin does not.
    """
    rows, at = np.unique(np.concatenate([first, second]), return_inverse=True)
    near = np.asarray(similarities[rows])
    there = ~np.isnan(near)
    far = there & (np.cumsum(there, axis=1) > (there.sum(axis=1, keepdims=True)) // 2)
    usual = np.where(far, near, 0).sum(axis=1) / np.maximum(far.sum(axis=1), 1)
    half = len(first)
    return np.asarray(np.nan_to_num(cosine - (usual[at[:half]] + usual[at[half:]]) / 2), dtype=np.float32)


def score(evidence: Evidence, margins: Floats) -> Doubles:
    """Return the probability that each pair shows the same image, 0..1; 0 if an image has too little detail."""
    detail = np.arctanh(evidence.detail_correlation.clip(0, 0.99).astype(np.float64))
    logit = _DETAIL * detail + _LUMA * evidence.correlation + _RESIDUAL * evidence.residual + _MARGIN * margins + _INTERCEPT
    return np.asarray(np.where(evidence.detail_correlation > 0, _sigmoid(logit), 0), dtype=np.float64)


def operating_point(scores: Doubles, min_precision: float, least_score: float = LEAST_SCORE) -> OperatingPoint:
    """Return the lowest score down to which the mean probability of the kept pairs is at least ``min_precision``."""
    falling = -np.sort(-scores[scores >= least_score])
    means = np.cumsum(falling) / np.arange(1, len(falling) + 1)
    kept = int(np.searchsorted(-means, -min_precision, side="right"))  # the means fall
    if kept == 0:
        return OperatingPoint(1.0 if len(falling) else least_score, 0, None, None)
    found = falling[:kept]
    logit = np.log(found / np.maximum(1 - found, 1e-12))
    low, high = (float(_sigmoid(logit + shift).mean()) for shift in (-1.96 * _LOGIT_ERROR, 1.96 * _LOGIT_ERROR))
    counting = max(1.96 * float(np.sqrt((found * (1 - found)).sum())), _NONE_SEEN) / kept
    mean = float(found.mean())
    low, high = mean - float(np.hypot(mean - low, counting)), mean + float(np.hypot(high - mean, counting))
    return OperatingPoint(float(found[-1]) if kept < len(falling) else least_score, kept, mean, (max(low, 0.0), min(high, 1.0)))


def relations(evidence: Evidence) -> npt.NDArray[np.str_]:
    """Return the relation of each pair: one of the last three of ``audit.tables.RELATIONS``."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], np.float32)
    moved = np.abs(np.einsum("mij,cj->mci", evidence.transform, corners) - corners[None, :, :2]).max(axis=(1, 2), initial=0)
    same = (moved <= _SAME_PLACE) & ~evidence.mirrored
    same &= (evidence.color_difference <= SAME_ENCODING_DIFFERENCE) & (evidence.local_difference <= _SAME_ENCODING_LOCALLY)
    another = evidence.detail_correlation < _SAME_DETAILS
    return np.where(same, "re_encoded", np.where(another, "same_scene", "edited_copy"))


def _sigmoid(logit: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -50, 50))), dtype=np.float64)

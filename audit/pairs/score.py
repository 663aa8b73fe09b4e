"""Score verified pairs, classify their relation, and choose the score from which pairs are kept.

``docs/pairs.md`` describes how the score was fitted and how good it is; ``benchmarks/duplicates.py`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.pairs.evidence import Evidence

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Thumbnails: logistic regression on judged CIFAR-10 pairs and on candidates that align badly.
_DETAIL, _LUMA, _RESIDUAL, _MARGIN, _INTERCEPT = 5.22, 9.13, -18.19, 27.73, -13.96

_COPY, _COPY_INTERCEPT = (0.425, 0.291, 0.178, 0.371, 0.0), -4.648
"""Images: logistic regression on ``audit.pairs.evidence.MEASURES``, fitted on five fields by ``benchmarks/pair_confirmation.py``; in the fit, half of
the pairs are copies."""

_SAME_THING, _SAME_THING_INTERCEPT = (0.0, 0.0, 0.0, 0.0, 2.015), -6.212
"""The same for "another shot of the same thing", among pairs that are not copies: fabric, floors and hands agree in details, too, but in fewer
places."""

_LOGIT_ERROR = 0.72
"""Standard error of a kept pair's logit, from 40 fits on images drawn with replacement."""

_NONE_SEEN = 3.0
"""Upper limit of the number of wrong pairs if none is expected (rule of three, 95%)."""

LEAST_SCORE = 0.5
"""Pairs below this score are never kept: they are more likely wrong than right."""

LEAST_SAME_THING = 0.965
"""Probability from which a pair that is not a copy is reported as two shots of the same thing."""

_ANOTHER_SUBJECT = 0.015
"""Share of blocks in which the images contradict each other above which they are not copies."""

SAME_ENCODING_DIFFERENCE = 0.03
"""Mean absolute RGB difference of aligned images, averaged over cells, up to which an unmoved pair is a re-encoding."""

SAME_ENCODING_LOCALLY = 0.04
"""The same in the cell where the difference is largest; nine of ten text overlays exceed it, recompression to quality 30 stays below."""

BLURRED = 1.0
"""Standard deviation, in pixels as compared, of a blur from which one image is an edit: compression and resizing reach 0.7 on five fields."""

_SAME_PLACE = 0.03
"""Share of the side by which a corner may move in a re-encoding: one pixel of a thumbnail."""

_SAME_DETAILS = 0.5
"""Correlation of the details of thumbnails below which two aligned images are two shots of one scene rather than copies."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Probabilities of ``m`` pairs, 0..1."""

    copy: Doubles
    """The images are the same photograph."""
    same_thing: Doubles
    """If they are not, they are two shots of the same thing."""


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


def score(evidence: Evidence, margins: Floats) -> Scores:
    """Return the probabilities of each pair; 0 if the images do not align or have too little detail.

    Args:
        evidence: ``m`` pairs.
        margins: ``[m]`` from ``margin``; used for thumbnails, which contain less.
    """
    detail = np.arctanh(evidence.detail_correlation.clip(0, 0.99).astype(np.float64))
    logit = _DETAIL * detail + _LUMA * evidence.correlation + _RESIDUAL * evidence.residual + _MARGIN * margins + _INTERCEPT
    small = np.where(evidence.detail_correlation > 0, _sigmoid(logit), 0)
    measures, aligned = evidence.measures.astype(np.float64), evidence.compared_at > 0
    copy, same = (
        np.where(aligned, _sigmoid(measures @ np.array(weights) + intercept), 0)
        for weights, intercept in ((_COPY, _COPY_INTERCEPT), (_SAME_THING, _SAME_THING_INTERCEPT))
    )
    # A fixed camera gives the same ground and another subject: another shot, however much of the ground agrees.
    copy = np.where(evidence.contradicted >= _ANOTHER_SUBJECT, 0.0, copy)
    by_features = evidence.measures.any(axis=1)
    return Scores(np.where(by_features, copy, small), np.where(by_features, same, small))


def with_own_share(copy: Doubles) -> Doubles:
    """Return the probabilities for the share of copies among these pairs, which expectation maximisation estimates from the probabilities.

    Where everything looks alike, hardly any of the pairs that are compared is a copy, and the same evidence is worth less (Saerens, Latinne &
    Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural Computation 14(1)).

    Args:
        copy: ``[m]`` probabilities of aligned pairs for a share of one half: the fit knows no others.
    """
    share, adjusted = 0.5, copy
    for _ in range(_MOST_STEPS):
        adjusted = copy * share / np.maximum(copy * share + (1 - copy) * (1 - share), 1e-300)
        before, share = share, max(float(adjusted.mean()), _LEAST_SHARE) if len(copy) else share
        if abs(before - share) < _STEP:
            break
    return adjusted


_MOST_STEPS, _STEP = 1000, 1e-7
_LEAST_SHARE = 1e-4
"""Share of copies below which a few hundred pairs say nothing."""


def operating_point(copy: Doubles, min_precision: float, least_score: float = LEAST_SCORE) -> OperatingPoint:
    """Return the lowest P(copy) down to which the mean of the kept copies is at least ``min_precision``."""
    falling = -np.sort(-copy[copy >= least_score])
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


def relations(evidence: Evidence, scores: Scores, point: OperatingPoint) -> npt.NDArray[np.str_]:
    """Return the relation of each pair: one of the last three of ``audit.tables.RELATIONS``, or empty for a pair that is not kept."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], np.float32)
    moved = np.abs(np.einsum("mij,cj->mci", evidence.transform, corners) - corners[None, :, :2]).max(axis=(1, 2), initial=0)
    same = (moved <= _SAME_PLACE) & ~evidence.mirrored
    same &= (evidence.color_difference <= SAME_ENCODING_DIFFERENCE) & (evidence.local_difference <= SAME_ENCODING_LOCALLY)
    same &= np.abs(evidence.blur) < BLURRED
    copy = (scores.copy >= point.least_score) & (point.pairs > 0)
    by_thumbnail = ~evidence.measures.any(axis=1)
    weak = by_thumbnail & (evidence.detail_correlation < _SAME_DETAILS)
    other_shot = ~by_thumbnail & (scores.same_thing >= LEAST_SAME_THING)
    kept = np.where(same, "re_encoded", np.where(weak, "same_scene", "edited_copy"))
    return np.where(copy, kept, np.where(other_shot, "same_scene", ""))


def _sigmoid(logit: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -50, 50))), dtype=np.float64)

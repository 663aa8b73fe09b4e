"""Noise model: estimate from predictions and given labels how probable each label is to be wrong.

The model is that of Dawid & Skene (1979) with one annotator: an image of true class *j* is labelled *y* with probability ``T[j, y]``. The
out-of-sample predictions are the prior of the true class, expectation-maximisation estimates ``T``, and Bayes' rule yields the probability that the
given label is wrong. Human errors are systematic (cat and dog, automobile and truck), a model's errors less so; that separates the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.io.blocks import blocks, some_of

if TYPE_CHECKING:
    import numpy.typing as npt

TEMPER = 0.6
"""Exponent of ``T`` in Bayes' rule, since an image's prediction and ``T`` are not independent evidence. Of 0.5 to 1 the best or within 0.001 of it
on both label sets of CIFAR-10N."""

ROUNDS = 10
"""Rounds of expectation-maximisation; the ranking no longer changes after these."""

PSEUDO_COUNT = 10.0
"""Pseudo-count of randomly labelled images per true class, so that an unseen error is not impossible."""

ESTIMATION_ROWS = 200_000
"""Rows that ``T`` is estimated from, sampled at random; more would not change it."""

DECISIVE = (0.80, 0.95)
"""Mean top probability of the predictions from which margins contribute to the score, and from which only margins do."""


class Noise(NamedTuple):
    """Estimated label noise of a dataset."""

    transition: npt.NDArray[np.float32]
    """``[c, c]`` probability of the given label (column) for the true class (row). Stored column by column."""
    decisiveness: float
    """Mean top probability of the predictions, 0..1."""


class Suspicion(NamedTuple):
    """One value per row; NaN, or -1 for classes, without a label or a prediction."""

    score: npt.NDArray[np.float32]
    """Ranking score, 0..1; higher = review earlier."""
    probability: npt.NDArray[np.float32]
    """Probability that a reviewer would call the given label wrong, 0..1."""
    other: npt.NDArray[np.int64]
    """Most probable class other than the given one."""
    predicted: npt.NDArray[np.int64]
    """Most probable class; also of rows without a label."""
    top: npt.NDArray[np.float32]
    """Predicted probability of ``predicted``."""
    own: npt.NDArray[np.float32]
    """Predicted probability of the given label."""


def judged_rows(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows that have a label (0 or above) and a prediction (not NaN)."""
    if not predictions.shape[1]:
        return np.empty(0, np.int64)
    return np.flatnonzero((given >= 0) & np.isfinite(np.asarray(predictions[:, 0])))


def estimate_noise(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64], *, images: npt.NDArray[np.bytes_] | None = None) -> Noise:
    """Estimate the transition matrix of given labels.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows are skipped. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        images: ``[n]`` digests of the images; they make the sample of rows independent of row order.
    """
    classes = predictions.shape[1]
    rows = some_of(judged_rows(predictions, given), ESTIMATION_ROWS, images)
    # Keep only two such matrices, [given, true]: with 22,000 classes each takes 1.9 GB.
    likelihood = np.full((classes, classes), 0.2 / max(classes, 1), np.float32)
    likelihood[np.diag_indices(classes)] += 0.8
    top = 0.0
    for turn in range(ROUNDS if len(rows) else 0):
        by_label = np.full((classes, classes), PSEUDO_COUNT / classes, np.float32)
        for part in blocks(rows, classes):
            block = np.asarray(predictions[part], dtype=np.float32)
            if turn == 0:
                top += float(block.max(1).sum(dtype=np.float64))
            posterior = _normalized(block * likelihood[given[part]])
            order = np.argsort(given[part], kind="stable")
            labels, starts = np.unique(given[part][order], return_index=True)
            by_label[labels] += np.add.reduceat(posterior[order], starts, axis=0, dtype=np.float64)
        by_label /= by_label.sum(0, dtype=np.float64)
        likelihood = by_label
    return Noise(likelihood.T, top / len(rows) if len(rows) else 0.0)


def suspect(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64], noise: Noise) -> Suspicion:
    """Score how suspicious every label is.

    ``probability`` is 1 - the posterior of the given label. ``score`` equals it if predictions are uncertain. If they are decisive (mean top
    probability of 0.95 and more, as of a network trained on the whole task), it is the margin between the best other class and the given one: such a
    model is uncertain only about unusual images, whose labels are seldom wrong.

    Args:
        predictions: float ``[n, c]``; NaN rows are not judged. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        noise: noise of the same dataset.
    """
    score, probability, top, own = (np.full(len(given), np.nan, np.float32) for _ in range(4))
    other, predicted = (np.full(len(given), -1, np.int64) for _ in range(2))
    found = Suspicion(score, probability, other, predicted, top, own)
    classes = predictions.shape[1]
    if classes < 2:
        return found
    low, high = DECISIVE
    margins_count = float(np.clip((noise.decisiveness - low) / (high - low), 0, 1))
    likelihood = noise.transition.T ** np.float32(TEMPER)
    for every in blocks(np.arange(len(given)), classes):
        block = np.asarray(predictions[every], dtype=np.float32)
        finite = np.isfinite(block[:, 0])
        part, block = every[finite], block[finite]
        predicted[part] = block.argmax(1)
        top[part] = block[np.arange(len(part)), predicted[part]]
        part, block = part[given[part] >= 0], block[given[part] >= 0]
        at, label = np.arange(len(part)), given[part]
        posterior = _normalized(block * likelihood[label])
        probability[part] = np.clip(1 - posterior[at, label], 0, 1)
        own[part] = block[at, label]
        posterior[at, label] = -1
        other[part] = posterior.argmax(1)
        block[at, label] = -1
        margin = (block.max(1) - own[part] + 1) / 2
        score[part] = np.clip((1 - margins_count) * probability[part] + margins_count * margin, 0, 1)
    return found


def _normalized(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return weights

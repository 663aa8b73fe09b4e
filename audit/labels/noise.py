"""How labels go wrong in a dataset, and how probable it is that one of them is: predictions and given labels in, probabilities out.

The model is that of Dawid & Skene (1979) with one annotator: an image of true class *j* is labelled *y* with probability ``T[j, y]``. The
out-of-sample predictions stand for what is known of the true class, expectation-maximisation finds ``T``, and Bayes' rule gives the probability that
the given label is wrong. Human slips are regular (cat and dog, automobile and truck), a model's slips less so, which is what separates the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.io.blocks import blocks, some_of

if TYPE_CHECKING:
    import numpy.typing as npt

TEMPER = 0.6
"""Exponent of ``T`` in Bayes' rule: one image's prediction and the dataset's habits are not independent evidence. Of 0.5 to 1 the
best or within 0.001 of it, on both label sets of CIFAR-10N."""

ROUNDS = 10
"""Of expectation-maximisation; the ranking no longer changes after these."""

PSEUDO_COUNT = 10.0
"""Images of every true class that are thought to have been labelled at random, so that a slip never seen is not impossible."""

ESTIMATION_ROWS = 200_000
"""Rows that ``T`` is estimated from, chosen by lot; more would not change it."""

DECISIVE = (0.80, 0.95)
"""Mean top probability of the predictions from which margins begin to count, and from which they count alone."""


class Noise(NamedTuple):
    """How the labels of a dataset go wrong."""

    transition: npt.NDArray[np.float32]
    """``[c, c]``: probability of the given label (column) where the true class is the row. In memory column by column."""
    decisiveness: float
    """Mean of the top probability, 0..1."""


class Suspicion(NamedTuple):
    """One value per row; NaN, or -1 for classes, where there is no label or no prediction."""

    score: npt.NDArray[np.float32]
    """0..1, higher = look earlier."""
    probability: npt.NDArray[np.float32]
    """0..1: that a reviewer would call the given label wrong."""
    other: npt.NDArray[np.int64]
    """The likeliest other class."""
    predicted: npt.NDArray[np.int64]
    """The most probable class; also of rows without a label."""
    top: npt.NDArray[np.float32]
    """Its predicted probability."""
    own: npt.NDArray[np.float32]
    """The predicted probability of the given label."""


def judged_rows(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows that have a label (0 or above) and a prediction (not NaN)."""
    if not predictions.shape[1]:
        return np.empty(0, np.int64)
    return np.flatnonzero((given >= 0) & np.isfinite(np.asarray(predictions[:, 0])))


def estimate_noise(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64], *, images: npt.NDArray[np.bytes_] | None = None) -> Noise:
    """Estimate how labels go wrong.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows are left out. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        images: ``[n]`` digests of the images, so that the order of the rows does not decide which are looked at where they are many.
    """
    classes = predictions.shape[1]
    rows = some_of(judged_rows(predictions, given), ESTIMATION_ROWS, images)
    # Only two such squares at a time, [given, true]: with 22,000 classes each takes 1.9 GB.
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
    """Say of every label how suspicious it is.

    ``probability`` is 1 - the posterior of the given label. ``score`` is the same where predictions hesitate. Where they are decisive (mean top
    probability of 0.95 and more, as of a network trained on the whole task) it is the margin between the best other class and the given one: such a
    model spreads its probability only over odd images, whose labels are seldom wrong.

    Args:
        predictions: float ``[n, c]``; NaN rows are not judged. Read in blocks.
        given: int ``[n]``; -1 = none.
        noise: of the same dataset.
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

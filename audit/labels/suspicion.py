"""Suspicion: the probability that each given label is wrong, under a noise model, and the score by which labels are ranked.

Errors on hard images cannot be distinguished from a weak model's by the likelihood. They are counted, as a share of the disagreement that is left,
where errors depend on the classes, as people's do, and in predictions of a network that was trained for the task; see `UNEXPLAINED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.io.blocks import blocks
from audit.labels.noise import Noise, logarithms
from audit.predictions.calibration import softmax

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

UNEXPLAINED = 0.15
"""*h*: of the disagreement that the noise does not explain, the share ``(noise + a) / (noise + h)`` is wrong labels. With `SUPPLIED_PRIOR`, chosen
over nine sets of labels; docs/checks/label_errors.md has the table that leaves each out."""

SUPPLIED_PRIOR = 0.04
"""*a* of supplied predictions, 0 of models on frozen embeddings: a network that was trained for the task disagrees for a reason more often."""

SHARPER = 0.6
"""The temperature is multiplied by it where the disagreement with a label is measured that may be an error on a hard image."""

SOFTER, SOFTER_SUPPLIED = 1.2, 1.5
"""Multiples of the calibrated temperature at which labels are ranked where errors on hard images are counted: of models on frozen embeddings, and of
supplied predictions."""

VOTE_WEIGHT = 0.6
"""Exponent of ``T`` in the ranking, and of the votes of copies: an image's prediction, its label and the labels of its copies are not independent
evidence."""

DECISIVE = (0.80, 0.95)
"""Mean top probability of supplied predictions from which margins contribute to the score, and from which only margins do."""


class Suspicion(NamedTuple):
    """One value per row; NaN, or -1 for classes, without a label or a prediction."""

    score: Floats
    """Ranking score, 0..1; higher = review earlier."""
    probability: Floats
    """Probability that a reviewer would call the given label wrong, 0..1."""
    low: Floats
    """The same if only the errors count that the likelihood shows."""
    high: Floats
    """The same if errors are of the kind that the self-test finds least, and with those that the models have learned."""
    other: npt.NDArray[np.int64]
    """Most probable class other than the given one."""
    other_probability: Floats
    """Probability that it is the right one, 0..1."""
    predicted: npt.NDArray[np.int64]
    """Most probable class; also of rows without a label."""
    top: Floats
    """Predicted probability of ``predicted``."""
    own: Floats
    """Predicted probability of the given label."""


def suspect(predictions: Floats, given: npt.NDArray[np.int64], noise: Noise) -> Suspicion:
    """Score how suspicious every label is.

    ``probability`` is 1 - the posterior of the given label under the noise model, plus a share of the remaining disagreement (`UNEXPLAINED`).
    ``score`` equals it, but where errors on hard images are counted it is the same posterior at a higher temperature (`SOFTER`) and with less weight
    of the noise (`VOTE_WEIGHT`), which ranks those better. Supplied predictions that are decisive (mean top probability of 0.95 and more) are ranked
    by the margin between the best other class and the given one, since such a model is uncertain only about unusual images, whose labels are seldom
    wrong.

    Args:
        predictions: float ``[n, c]``; NaN rows are not judged. Read in blocks.
        given: int ``[n]`` columns of the given labels; -1 = none.
        noise: noise of the same dataset.
    """
    score, probability, least, most, other_probability, top, own = (np.full(len(given), np.nan, np.float32) for _ in range(7))
    other, predicted = (np.full(len(given), -1, np.int64) for _ in range(2))
    found = Suspicion(score, probability, least, most, other, other_probability, predicted, top, own)
    classes = predictions.shape[1]
    if classes < 2:
        return found
    low, high = DECISIVE
    margins_count = float(np.clip((noise.decisiveness - low) / (high - low), 0, 1)) if noise.supplied else 0.0
    ranking_temperature = np.float32(noise.calibrated * (SOFTER_SUPPLIED if noise.supplied else SOFTER))
    wrong_of_unexplained = (noise.share + (SUPPLIED_PRIOR if noise.supplied else 0)) / (noise.share + UNEXPLAINED) if noise.of_people else 0.0
    fewer, more = (end / max(noise.share, 1e-12) * bias for end, bias in zip(noise.share_interval, noise.bias, strict=True))
    for every in blocks(np.arange(len(given)), classes):
        block = np.asarray(predictions[every], dtype=np.float32)
        finite = np.isfinite(block[:, 0])
        part, block = every[finite], block[finite]
        predicted[part] = block.argmax(1)
        top[part] = block[np.arange(len(part)), predicted[part]]
        part, block = part[given[part] >= 0], block[given[part] >= 0]
        at, label = np.arange(len(part)), given[part]
        logits = logarithms(block)
        prior = softmax(logits / np.float32(noise.temperature))
        likelihood = noise.likelihood(label, prior)
        posterior = _normalized(prior * likelihood)
        shown = np.clip(1 - posterior[at, label], 0, 1)
        sharp = softmax(logits / np.float32(noise.temperature * SHARPER))
        hard = (1 - shown) * np.float32(wrong_of_unexplained)
        probability[part] = shown + hard * (1 - sharp[at, label])
        least[part] = np.minimum(_with_odds(shown, fewer), probability[part])
        most[part] = _with_odds(probability[part], more)
        if noise.unseen is not None:
            most[part] += (1 - most[part]) * noise.unseen[label].astype(np.float32)
        own[part] = block[at, label]
        posterior[at, label] = -1
        other[part] = posterior.argmax(1)
        other_probability[part] = posterior[at, other[part]] + hard * sharp[at, other[part]]
        block[at, label] = -1
        margin = (block.max(1) - own[part] + 1) / 2
        doubt = probability[part]
        if noise.of_people:
            doubt = 1 - _normalized(softmax(logits / ranking_temperature) * likelihood ** np.float32(VOTE_WEIGHT))[at, label]
        score[part] = np.clip((1 - margins_count) * doubt + margins_count * margin, 0, 1)
    return found


def _normalized(weights: Floats) -> Floats:
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return weights


def _with_odds(probability: Floats, factor: float) -> Floats:
    """Return probabilities with their odds multiplied."""
    return np.asarray(factor * probability / np.maximum(1 - probability + factor * probability, 1e-30), dtype=np.float32)

"""Test of the label check on the dataset itself: change some labels on purpose, and count how many of them it finds.

No model saw the image that it judges, so changing a label does not change the prediction for that image. The predictions are therefore reused, and
everything after them is repeated with the changed labels: the noise model, the probabilities, the flags. What is left out is how the changed labels
would weaken the models themselves; ``benchmarks/label_errors.py`` compares with models that were fitted on the changed labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.labels.noise import Noise, estimate_noise, estimation_rows
from audit.labels.suspicion import suspect

if TYPE_CHECKING:
    import numpy.typing as npt

SHARE = 0.05
"""Share of the labels that each of the two tests changes."""

FOUND_FROM = 0.5
"""Probability from which a changed label counts as found: the default of ``label_errors``."""

HELPLESS = 0.2
"""The check does not help with a class of whose mislabelled images it finds less than this share."""

LEAST_IMAGES = 5
"""Judged images that a class needs for a statement about it."""

_BIAS = 1.5
"""Factor by which the odds of a wrong label may be off in any case: the errors of a dataset are neither of the two kinds that the test plants."""

_MOST_BIAS = 20.0
"""Largest factor, so that the interval stays finite."""


class SelfTest(NamedTuple):
    """Outcome of both tests together: one changes labels to random classes, the other to the class that the image is most easily taken for."""

    changed: int
    """Number of labels changed."""
    found: int
    """Number of them found."""
    found_random: float
    """Share found of those changed to a random class, 0..1."""
    found_confusable: float
    """Share found of those changed to the most probable other class, 0..1."""
    flagged: int
    """Number of labels flagged in both tests."""
    rises: tuple[float, float]
    """By how many wrong labels the estimate rises per label that is changed to a random class, and to the most probable other class; ideally 1."""
    found_by_class: npt.NDArray[np.float64]
    """``[c]`` share found of each class's images if they were mislabelled; NaN with fewer than `LEAST_IMAGES`."""

    @property
    def bias(self) -> tuple[float, float]:
        """Factors by which the odds of wrong labels may be lower and higher than stated."""
        over, under = max(self.rises[1], 1.0), min(max(min(self.rises), 1 / _MOST_BIAS), 1.0)
        return 1 / (_BIAS * over), min(_BIAS / under, _MOST_BIAS)

    @property
    def helpless(self) -> list[int]:
        """Classes with which the check does not help."""
        return np.flatnonzero(self.found_by_class < HELPLESS).tolist()


def self_test(
    predictions: npt.NDArray[np.float32],
    given: npt.NDArray[np.int64],
    noise: Noise,
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    seed: int = 0,
) -> SelfTest | None:
    """Change labels and look for them; None with fewer than two judged images or classes.

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows are skipped.
        given: int ``[n]`` columns of the given labels; -1 = none.
        noise: noise of the labels as they are.
        images: ``[n]`` digests of the images; they make the choice of labels independent of row order.
        seed: decides which labels are changed.
    """
    rows, classes = estimation_rows(predictions, given, images), predictions.shape[1]
    if len(rows) < 2 or classes < 2:
        return None
    block, labels = np.asarray(predictions[rows], dtype=np.float32), given[rows]
    before = float(np.nanmean(suspect(block, labels, noise).probability))
    draw = np.random.default_rng(seed)
    at, number = np.arange(len(rows)), max(round(SHARE * len(rows)), 1)
    others = block.copy()
    others[at, labels] = -1
    replaced = (labels + draw.integers(1, classes, len(rows))) % classes, others.argmax(1)
    rises, shares, flagged, per_image = [], [], 0, np.zeros(len(rows))
    for other in replaced:
        chosen = draw.permutation(len(rows))[:number]
        changed = labels.copy()
        changed[chosen] = other[chosen]
        noise_then = estimate_noise(block, changed, supplied=noise.supplied, kind=noise.kind)
        probability = suspect(block, changed, noise_then).probability
        rises.append((float(probability.mean()) - before) * len(rows) / number)
        shares.append(float((probability[chosen] >= FOUND_FROM).mean()))
        flagged += int((probability >= FOUND_FROM).sum())
        per_image += (suspect(block, other, noise_then).probability >= FOUND_FROM) / len(replaced)
    count = np.bincount(labels, minlength=classes)
    by_class = np.bincount(labels, weights=per_image, minlength=classes) / np.where(count >= LEAST_IMAGES, count, np.nan)
    return SelfTest(2 * number, round(sum(shares) * number), shares[0], shares[1], flagged, (rises[0], rises[1]), by_class)

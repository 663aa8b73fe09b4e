"""Noise model: estimate from predictions and given labels how probable each label is to be wrong.

An image of true class *j* is labelled *y* with probability ``T[j, y]`` (Dawid & Skene 1979, one annotator). Predictions are calibrated on the given
labels, so a model that is merely weak expects its own disagreement with them. What it cannot expect is a contradicted label on an image of which it
is sure: annotators err on easy images too, a weak model does not (anchor points: Liu & Tao 2016; Patrini et al. 2017). The temperature of the
predictions and the noise are therefore fitted together, by the likelihood of the given labels: the temperature alone would take errors for
uncertainty, the noise alone uncertainty for errors.

Three kinds of noise are compared. Errors to any other class are always assumed. Errors to the class that an image is most easily taken for, and
errors that depend on the two classes, must be earned: each is used where it raises the likelihood by more than chance would.

Errors on hard images cannot be distinguished from a weak model's by the likelihood. They are counted, as a share of the disagreement that is left,
where errors depend on the classes, as people's do, and in predictions of a network that was trained for the task; see `UNEXPLAINED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from audit.io.blocks import blocks, some_of
from audit.predictions.calibration import best_temperature, softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

ESTIMATION_ROWS = 20_000
"""Rows that the noise is estimated from, sampled at random; fewer with many classes."""

_CELLS, _LEAST_ROWS = 5_000_000, 2_000

UNEXPLAINED = 0.15
"""*h*: of the disagreement that the noise does not explain, the share ``(noise + a) / (noise + h)`` is wrong labels. With `SUPPLIED_PRIOR`, chosen
over nine sets of labels; docs/checks/label_errors.md has the table that leaves each out."""

SUPPLIED_PRIOR = 0.04
"""*a* of supplied predictions, 0 of models on frozen embeddings: a network that was trained for the task disagrees for a reason more often."""

CONFUSABLE_GAIN = 20.0
"""Gain in log likelihood from which errors to the most easily confused class are assumed. On planted sets with such errors it was 27 and more, and at
most 2 without; on 600 X-rays of 3 classes, which show nothing about it, 1 to 19 with and without."""

SHARPER = 0.6
"""The temperature is multiplied by it where the disagreement with a label is measured that may be an error on a hard image."""

SOFTER, SOFTER_SUPPLIED = 1.2, 1.5
"""Multiples of the calibrated temperature at which labels are ranked where errors on hard images are counted: of models on frozen embeddings, and of
supplied predictions."""

VOTE_WEIGHT = 0.6
"""Exponent of ``T`` in the ranking, and of the votes of copies: an image's prediction, its label and the labels of its copies are not independent
evidence."""

PRIOR_IMAGES = 300.0
"""Images of each true class that are mislabelled at random in the prior of the transition matrix."""

DECISIVE = (0.80, 0.95)
"""Mean top probability of supplied predictions from which margins contribute to the score, and from which only margins do."""

_LEAST = 1e-6
"""Predicted probabilities below this count as it."""
_COOLING, _COOLEST = 0.15, 1.2
"""Steps of the logarithm of the temperature, and the largest distance to the calibrated one. Colder still, the likelihood may have a second maximum
that takes all uncertainty of the models for errors."""
_ROUNDS, _ROUNDS_OF_SHARES = 25, 200
_Z = 1.96
_STEP = 0.05

Kind = Literal["random", "confusable", "matrix"]


class Noise(NamedTuple):
    """Estimated label noise of a dataset."""

    share: float
    """Estimated share of wrong labels, without those on hard images that only `suspect` counts, 0..1."""
    share_interval: tuple[float, float]
    """Its 95% interval, from the curvature of the likelihood."""
    confusable: float
    """The part of ``share`` that goes to the classes for which an image is most easily taken."""
    transition: npt.NDArray[np.float64] | None
    """``[c, c]`` probability of the given label (column) for the true class (row); None where errors do not depend on the classes."""
    temperature: float
    """Divisor of the logarithms of the predictions, fitted together with the noise."""
    calibrated: float
    """The same without noise."""
    decisiveness: float
    """Mean top probability of the predictions, 0..1."""
    supplied: bool = False
    """Whether the predictions are the user's."""
    bias: tuple[float, float] = (1.0, 1.0)
    """By how much the odds of a wrong label may be lower and higher than stated, as `audit.labels.self_test` measures it; at most 1, at least 1."""

    @property
    def kind(self) -> Kind:
        """The kind of noise that the labels show."""
        return "matrix" if self.transition is not None else "confusable" if self.confusable else "random"

    @property
    def of_people(self) -> bool:
        """Whether errors on hard images are counted."""
        return self.supplied or self.transition is not None

    def likelihood(self, labels: npt.NDArray[np.int64], prior: Floats) -> Floats:
        """Return float32 ``[m, c]``: the probability of each label, for each true class.

        Args:
            labels: ``[m]``.
            prior: ``[m, c]`` predictions at ``temperature``.
        """
        if self.transition is not None:
            return np.asarray(self.transition.T[labels], dtype=np.float32)
        at = np.arange(len(labels))
        found = np.full_like(prior, (self.share - self.confusable) / max(prior.shape[1] - 1, 1))
        if self.confusable:
            own = prior[at, labels][:, None]
            found += np.float32(self.confusable) * own / np.maximum(1 - prior, np.maximum(own, np.float32(1e-30)))
        found[at, labels] = 1 - self.share
        return found


class Suspicion(NamedTuple):
    """One value per row; NaN, or -1 for classes, without a label or a prediction."""

    score: Floats
    """Ranking score, 0..1; higher = review earlier."""
    probability: Floats
    """Probability that a reviewer would call the given label wrong, 0..1."""
    low: Floats
    """The same if only the errors count that the likelihood shows."""
    high: Floats
    """The same if errors are of the kind that the self-test finds least."""
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


def judged_rows(predictions: Floats, given: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows that have a label (0 or above) and a prediction (not NaN)."""
    if not predictions.shape[1]:
        return np.empty(0, np.int64)
    return np.flatnonzero((given >= 0) & np.isfinite(np.asarray(predictions[:, 0])))


def estimation_rows(predictions: Floats, given: npt.NDArray[np.int64], images: npt.NDArray[np.bytes_] | None) -> npt.NDArray[np.int64]:
    """Return the rows to estimate from, at most `ESTIMATION_ROWS`, in an order that does not depend on that of the table if ``images`` are given."""
    most = min(ESTIMATION_ROWS, max(_CELLS // max(predictions.shape[1], 1), _LEAST_ROWS))
    rows = some_of(judged_rows(predictions, given), most, images)
    return rows if images is None else rows[np.lexsort((given[rows], images[rows]))]


def estimate_noise(
    predictions: Floats,
    given: npt.NDArray[np.int64],
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    supplied: bool = False,
    kind: Kind | None = None,
) -> Noise:
    """Estimate the noise of given labels and the temperature of the predictions, by the likelihood of the labels.

    Errors to any other class are always fitted. Errors to the class that an image is most easily taken for are added where they raise the log
    likelihood by `CONFUSABLE_GAIN`; a transition matrix is used instead where it raises it by more, after subtracting its number of parameters
    (Akaike 1974).

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows are skipped.
        given: int ``[n]`` columns of the given labels; -1 = none.
        images: ``[n]`` digests of the images; they make the sample of rows independent of row order.
        supplied: whether the predictions are the user's.
        kind: the kind of noise to fit; None for the one that the labels show.
    """
    from scipy.optimize import minimize_scalar

    classes = predictions.shape[1]
    rows = estimation_rows(predictions, given, images)
    if classes < 2 or not len(rows):
        return Noise(0.0, (0.0, 0.0), 0.0, None, 1.0, 1.0, 0.0, supplied)
    block, labels = np.asarray(predictions[rows], dtype=np.float32), given[rows]
    order = np.lexsort((block[:, 1], block[:, 0], labels))  # the maximum of a flat likelihood depends on the order of sums
    block, labels = block[order], labels[order]
    logits = _log(block)
    calibrated = best_temperature(logits, labels)

    def best(fit: Callable[[Floats, npt.NDArray[np.int64]], _Fit]) -> _Fit:
        """Cool the predictions from their calibrated temperature down to the first maximum of the likelihood."""

        def at(step: float) -> _Fit:
            temperature = calibrated * float(np.exp(step))
            return fit(softmax(logits / np.float32(temperature)), labels)._replace(temperature=temperature)

        step, found = 0.0, at(0.0)
        while step > -_COOLEST and (colder := at(step - _COOLING)).likelihood > found.likelihood + 1e-3:
            step, found = step - _COOLING, colder
        fits = [found]

        def loss(step: float) -> float:
            fits.append(at(step))
            return -fits[-1].likelihood

        minimize_scalar(loss, bounds=(step - _COOLING, step + _COOLING), method="bounded", options={"xatol": 0.01})
        return max(fits, key=lambda found: found.likelihood)

    parameters = classes * (classes - 1)
    if kind == "matrix":
        found = best(_fit_matrix)
        most = found.share + _Z * found.error
    else:
        found = best(_fit_share)
        confusable = best(_fit_confusable) if classes > 2 else found
        most = max(fit.share + _Z * _error(fit, logits, labels) for fit in (found, confusable))
        gain = confusable.likelihood - found.likelihood
        # No matrix can raise the likelihood of a label above 1.
        matrix = best(_fit_matrix) if kind is None and classes > 2 and parameters < -found.likelihood else None
        if matrix and matrix.likelihood - found.likelihood - parameters > max(gain, 0):
            found, most = matrix, matrix.share + _Z * matrix.error
        elif kind == "confusable" or (kind is None and gain > CONFUSABLE_GAIN):
            found = confusable
    least = found.share - _Z * _error(found, logits, labels)
    return Noise(
        share=found.share,
        share_interval=(max(least, 0.0), min(max(most, found.share), 1.0)),
        confusable=found.confusable,
        transition=found.transition,
        temperature=found.temperature,
        calibrated=calibrated,
        decisiveness=float(block.max(1).mean(dtype=np.float64)),
        supplied=supplied,
    )


class _Fit(NamedTuple):
    likelihood: float
    """Natural logarithm, penalised by the prior."""
    share: float
    confusable: float = 0.0
    transition: npt.NDArray[np.float64] | None = None
    error: float = 0.0
    """Standard error of ``share`` with a transition matrix; see `_error` for the others."""
    temperature: float = 1.0


def _fit_share(prior: Floats, labels: npt.NDArray[np.int64]) -> _Fit:
    """Fit the share of labels that are replaced by any other class, equally often; the likelihood is concave in it."""
    from scipy.optimize import brentq

    own, random = _own_and_random(prior, labels)
    change = random - own

    def slope(share: float) -> float:
        return float((change / np.maximum(own + share * change, 1e-30)).sum())

    least, most = 0.5 / len(labels), 1 - 1 / prior.shape[1]
    share = least
    if least < most and slope(least) > 0:
        share = most if slope(most) >= 0 else float(brentq(slope, least, most, xtol=1e-6))
    probability = np.maximum(own + share * change, 1e-30)
    return _Fit(float(np.log(probability).sum()), share)


def _fit_confusable(prior: Floats, labels: npt.NDArray[np.int64]) -> _Fit:
    """Fit the shares of labels that are replaced by any other class, and by another class in proportion to its predicted probability."""
    parts = _parts(prior, labels)
    weights = np.array([0.9, 0.05, 0.05])
    for _ in range(_ROUNDS_OF_SHARES):
        responsible = parts * weights
        responsible /= np.maximum(responsible.sum(1, keepdims=True), 1e-30)
        before, weights = weights, responsible.mean(0)
        if np.abs(weights - before).max() < 1e-6:
            break
    likelihood = float(np.log(np.maximum(parts @ weights, 1e-30)).sum())
    return _Fit(likelihood, float(weights[1:].sum()), float(weights[2]))


def _parts(prior: Floats, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return ``[m, 3]``: the probability of each label if it is right, replaced by any class, and by the class that is most easily confused."""
    own, random = _own_and_random(prior, labels)
    odds = prior / np.maximum(1 - prior.astype(np.float64), np.maximum(own, 1e-30)[:, None])
    return np.stack([own, random, np.minimum(own * (odds.sum(1) - odds[np.arange(len(labels)), labels]), 1)], 1)


def _error(fit: _Fit, logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Return the standard error of the share of wrong labels, fitted together with the temperature; from the outer product of the gradients."""
    if fit.transition is not None:
        return fit.error
    weights = np.array([1 - fit.share, fit.share - fit.confusable, fit.confusable])
    colder, fitted, warmer = (_parts(softmax(logits / np.float32(fit.temperature * np.exp(step))), labels) for step in (-_STEP, 0, _STEP))
    probability = np.maximum(fitted @ weights, 1e-30)
    gradients = [(fitted[:, kind] - fitted[:, 0]) / probability for kind in ((1, 2) if fit.confusable > 1e-4 else (1,))]
    gradients.append((np.log(np.maximum(warmer @ weights, 1e-30)) - np.log(np.maximum(colder @ weights, 1e-30))) / (2 * _STEP))
    covariance = np.linalg.pinv(np.array(gradients) @ np.array(gradients).T)
    return float(np.sqrt(max(covariance[:-1, :-1].sum(), 0.0)))


def _fit_matrix(prior: Floats, labels: npt.NDArray[np.int64]) -> _Fit:
    """Fit a transition matrix by expectation-maximisation; its rows are shrunk towards errors that are equally frequent in all classes."""
    classes = prior.shape[1]
    own, random = _own_and_random(prior, labels)
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    prior64, sorted_labels = prior[order].astype(np.float64), labels[order]
    transition = expected = _even(0.05, classes)
    for _ in range(_ROUNDS):
        posterior = prior64 * transition.T[sorted_labels]
        posterior /= np.maximum(posterior.sum(1, keepdims=True), 1e-30)
        counts = np.zeros((classes, classes))
        counts[:, present] = np.add.reduceat(posterior, starts, axis=0).T
        expected = _even((counts.sum() - np.trace(counts) + 0.5) / (counts.sum() + 1), classes)
        transition = (counts + PRIOR_IMAGES * expected) / (counts.sum(1, keepdims=True) + PRIOR_IMAGES)
    probability = np.maximum((prior * transition.T[labels]).sum(1), 1e-30)
    penalty = PRIOR_IMAGES * (expected * np.log(transition / expected)).sum()
    share = float(1 - (own * np.diag(transition)[labels] / probability).mean())
    error = float((((random - own) / probability) ** 2).sum() ** -0.5)
    return _Fit(float(np.log(probability).sum() + penalty), share, transition=transition, error=error)


def _own_and_random(prior: Floats, labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the probability of each label if it is right, and if it replaces any other class."""
    own = prior[np.arange(len(labels)), labels].astype(np.float64)
    return own, (1 - own) / (prior.shape[1] - 1)


def _even(share: float, classes: int) -> npt.NDArray[np.float64]:
    found = np.full((classes, classes), share / (classes - 1))
    np.fill_diagonal(found, 1 - share)
    return found


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
        logits = _log(block)
        prior = softmax(logits / np.float32(noise.temperature))
        likelihood = noise.likelihood(label, prior)
        posterior = _normalized(prior * likelihood)
        shown = np.clip(1 - posterior[at, label], 0, 1)
        sharp = softmax(logits / np.float32(noise.temperature * SHARPER))
        hard = (1 - shown) * np.float32(wrong_of_unexplained)
        probability[part] = shown + hard * (1 - sharp[at, label])
        least[part] = np.minimum(_with_odds(shown, fewer), probability[part])
        most[part] = _with_odds(probability[part], more)
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


def _log(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, np.float32(_LEAST)))


def _normalized(weights: Floats) -> Floats:
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return weights


def _with_odds(probability: Floats, factor: float) -> Floats:
    """Return probabilities with their odds multiplied."""
    return np.asarray(factor * probability / np.maximum(1 - probability + factor * probability, 1e-30), dtype=np.float32)

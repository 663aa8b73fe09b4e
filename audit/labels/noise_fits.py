"""Fits of label noise to predictions at one temperature, by the likelihood of the given labels: random, confusable and a transition matrix.

`audit.labels.systematic` has the fit of single pairs of classes, and `audit.labels.noise` chooses between the kinds and fits the temperature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.predictions.calibration import softmax

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]

PRIOR_IMAGES = 300.0
"""Images of each true class that are mislabelled at random in the prior of the transition matrix."""

LEAST_PROBABILITY = 1e-30
"""The least probability of a label, so that its logarithm is finite."""

MOST_RATE = 0.95
"""The largest share of the images of a class that may carry the label of others."""

_ROUNDS, _ROUNDS_OF_SHARES = 25, 200
_STEP = 0.05


class SystematicError(NamedTuple):
    """Images of one class that are labelled another, more often than random errors explain."""

    true: int
    """Code of their class."""
    given: int
    """Code of their label."""
    rate: float
    """Share of the images of class ``true`` that are labelled ``given``, 0..1."""
    share: float
    """Share of all labels that are such errors, 0..1."""


class Fit(NamedTuple):
    """A fit of one kind of noise."""

    likelihood: float
    """Natural logarithm, penalised by the prior."""
    share: float
    """Share of wrong labels, 0..1."""
    confusable: float = 0.0
    """The part of it that goes to the classes for which an image is most easily taken."""
    pairs: tuple[SystematicError, ...] = ()
    transition: Doubles | None = None
    error: float = 0.0
    """Standard error of ``share`` with a transition matrix; see `standard_error` for the others."""
    temperature: float = 1.0

    @property
    def random(self) -> float:
        """The part of the share that goes to any other class, equally often."""
        return self.share - self.confusable - sum(pair.share for pair in self.pairs)


def fit_share(prior: Floats, labels: Codes) -> Fit:
    """Fit the share of labels that are replaced by any other class, equally often; the likelihood is concave in it."""
    from scipy.optimize import brentq

    own, random = own_and_random(prior, labels)
    change = random - own

    def slope(share: float) -> float:
        return float((change / np.maximum(own + share * change, LEAST_PROBABILITY)).sum())

    least, most = 0.5 / len(labels), 1 - 1 / prior.shape[1]
    share = least
    if least < most and slope(least) > 0:
        share = most if slope(most) >= 0 else float(brentq(slope, least, most, xtol=1e-6))
    probability = np.maximum(own + share * change, LEAST_PROBABILITY)
    return Fit(float(np.log(probability).sum()), share)


def fit_confusable(prior: Floats, labels: Codes) -> Fit:
    """Fit the shares of labels that are replaced by any other class, and by another class in proportion to its predicted probability."""
    parts = probability_by_origin(prior, labels)
    weights = np.array([0.9, 0.05, 0.05])
    for _ in range(_ROUNDS_OF_SHARES):
        responsible = parts * weights
        responsible /= np.maximum(responsible.sum(1, keepdims=True), LEAST_PROBABILITY)
        before, weights = weights, responsible.mean(0)
        if np.abs(weights - before).max() < 1e-6:
            break
    likelihood = float(np.log(np.maximum(parts @ weights, LEAST_PROBABILITY)).sum())
    return Fit(likelihood, float(weights[1:].sum()), float(weights[2]))


def probability_by_origin(prior: Floats, labels: Codes) -> Doubles:
    """Return ``[m, 3]``: the probability of each label if it is right, replaced by any class, and by the class that is most easily confused."""
    own, random = own_and_random(prior, labels)
    odds = prior / np.maximum(1 - prior.astype(np.float64), np.maximum(own, LEAST_PROBABILITY)[:, None])
    return np.stack([own, random, np.minimum(own * (odds.sum(1) - odds[np.arange(len(labels)), labels]), 1)], 1)


def fit_matrix(prior: Floats, labels: Codes) -> Fit:
    """Fit a transition matrix by expectation-maximisation; its rows are shrunk towards errors that are equally frequent in all classes."""
    classes = prior.shape[1]
    own, random = own_and_random(prior, labels)
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    prior64, sorted_labels = prior[order].astype(np.float64), labels[order]
    transition = expected = _even(0.05, classes)
    for _ in range(_ROUNDS):
        posterior = prior64 * transition.T[sorted_labels]
        posterior /= np.maximum(posterior.sum(1, keepdims=True), LEAST_PROBABILITY)
        counts = np.zeros((classes, classes))
        counts[:, present] = np.add.reduceat(posterior, starts, axis=0).T
        expected = _even((counts.sum() - np.trace(counts) + 0.5) / (counts.sum() + 1), classes)
        transition = (counts + PRIOR_IMAGES * expected) / (counts.sum(1, keepdims=True) + PRIOR_IMAGES)
    probability = np.maximum((prior * transition.T[labels]).sum(1), LEAST_PROBABILITY)
    penalty = PRIOR_IMAGES * (expected * np.log(transition / expected)).sum()
    share = float(1 - (own * np.diag(transition)[labels] / probability).mean())
    error = float((((random - own) / probability) ** 2).sum() ** -0.5)
    return Fit(float(np.log(probability).sum() + penalty), share, transition=transition, error=error)


def standard_error(fit: Fit, logits: Floats, labels: Codes) -> float:
    """Return the standard error of the share of wrong labels, fitted together with the temperature; from the outer product of the gradients.

    Args:
        fit: of any kind.
        logits: ``[m, c]`` logarithms of the predictions.
        labels: ``[m]``.
    """
    if fit.transition is not None:
        return fit.error
    colder, prior, warmer = (softmax(logits / np.float32(fit.temperature * np.exp(step))) for step in (-_STEP, 0, _STEP))
    parts = probability_by_origin(prior, labels)
    probability = label_probability(prior, labels, fit)
    # A share at its lower bound has no curvature; next to a pair it is left out.
    shown = {1: not fit.pairs or fit.random * len(labels) > 1, 2: fit.confusable > 1e-4}
    gradients = [(parts[:, kind] - parts[:, 0]) / probability for kind in shown if shown[kind]]
    weights = [1.0] * len(gradients)
    for pair in fit.pairs:
        change = np.where(labels == pair.given, prior[:, pair.true], 0.0) - np.where(labels == pair.true, parts[:, 0], 0.0)
        gradients.append(change / probability)
        weights.append(pair.share / max(pair.rate, 1e-9))
    cold, warm = (np.log(label_probability(other, labels, fit)) for other in (colder, warmer))
    every = np.array([*gradients, (warm - cold) / (2 * _STEP)])
    covariance = np.linalg.pinv(every @ every.T)[:-1, :-1]
    return float(np.sqrt(max(float(np.array(weights) @ covariance @ np.array(weights)), 0.0)))


def label_probability(prior: Floats, labels: Codes, fit: Fit) -> Doubles:
    """Return ``[m]``: the probability of each label under a fit of random errors, confusable ones and pairs."""
    leaving = np.zeros(prior.shape[1])
    for pair in fit.pairs:
        leaving[pair.true] += pair.rate
    right, random, confusable = probability_by_origin(prior, labels).T
    found = right * np.maximum(1 - fit.random - fit.confusable - leaving[labels], 1 - MOST_RATE) + random * fit.random + confusable * fit.confusable
    for pair in fit.pairs:
        rows = np.flatnonzero(labels == pair.given)
        found[rows] += pair.rate * prior[rows, pair.true]
    return np.asarray(np.maximum(found, LEAST_PROBABILITY))


def own_and_random(prior: Floats, labels: Codes) -> tuple[Doubles, Doubles]:
    """Return the probability of each label if it is right, and if it replaces any other class."""
    own = prior[np.arange(len(labels)), labels].astype(np.float64)
    return own, (1 - own) / (prior.shape[1] - 1)


def _even(share: float, classes: int) -> Doubles:
    found = np.full((classes, classes), share / (classes - 1))
    np.fill_diagonal(found, 1 - share)
    return found

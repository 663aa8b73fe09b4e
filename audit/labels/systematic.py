"""Systematic errors: images of one class that carry the label of another, by a slip of a script or one annotator's confusion.

They concern one pair of classes, or a few, so they hardly raise the share of wrong labels, and a transition matrix, which has a parameter for every
two classes, cannot pay for itself. Here each pair has a rate of its own, next to the errors to any class, and is added where it raises the log
likelihood of the labels by `PAIR_GAIN`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.labels.noise_fits import LEAST_PROBABILITY, Fit, SystematicError, error_of_sum, own_and_random, priors_around
from audit.predictions.calibration import softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]
    Search = Callable[[Callable[[Floats, Codes], Fit], float], Fit]

PAIR_GAIN = 10.0
"""Gain in log likelihood from which a pair of classes has a rate of its own."""

_RATES = np.array([0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9])
_MOST_RATE = 0.95
_ADDITIONS, _ROUNDS = 8, 300
_TOLERANCE = 1e-3


class Gains(NamedTuple):
    """What each pair of classes would raise the log likelihood by; one value per candidate."""

    true: Codes
    given: Codes
    gain: Doubles


def add_pairs(search: Search, logits: Floats, labels: Codes, start: Fit) -> Fit:
    """Add pairs of classes to a fit of random errors, as long as one raises the log likelihood by `PAIR_GAIN`; return the last fit.

    Each round adds the pairs that are the best of both their classes, and fits all rates and the temperature again.

    Args:
        search: fits at the best temperature, searched from a given one.
        logits: ``[m, c]`` logarithms of the predictions.
        labels: ``[m]``.
        start: fit of random errors.
    """
    found = start
    for _ in range(_ADDITIONS):
        gains = pair_gains(softmax(logits / np.float32(found.temperature)), labels, found)
        new = _best_of_both(gains)
        if not new:
            break
        found = search(partial(fit_pairs, pairs=[*((pair.true, pair.given) for pair in found.pairs), *new]), found.temperature)
    return found


def pair_gains(prior: Floats, labels: Codes, fit: Fit) -> Gains:
    """Return the gain of every pair of classes that is a candidate: some image with the one label is predicted as the other class.

    The likelihood is concave in the rate of a pair, and is evaluated at some rates with all else fixed.

    Args:
        prior: ``[m, c]`` predictions at the temperature of the fit.
        labels: ``[m]``.
        fit: random errors and the pairs so far.
    """
    classes = prior.shape[1]
    own, _ = own_and_random(prior, labels)
    kept = 1 - fit.random
    probability = label_probability(prior, labels, fit)
    known = {(pair.true, pair.given) for pair in fit.pairs}
    # What the images lose that keep the label of their class; depends on the class and the rate only.
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    lost = np.log(np.maximum(1 - kept * _RATES * (own / probability)[order, None], 1e-9))
    loss = np.zeros((classes, len(_RATES)))
    loss[present] = np.add.reduceat(lost, starts, axis=0)
    predicted = prior.argmax(1)
    found: list[tuple[int, int, float]] = []
    for given, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        candidates = np.array([true for true in np.unique(predicted[rows]).tolist() if true != given and (true, given) not in known], np.int64)
        ratio = kept * prior[np.ix_(rows, candidates)] / probability[rows, None]
        gain = np.stack([np.log1p(rate * ratio).sum(0) for rate in _RATES], 1) + loss[candidates]
        found += [(true, given, value) for true, value in zip(candidates.tolist(), gain.max(1).tolist(), strict=True)]
    true, given, gain = np.array(found, np.float64).reshape(-1, 3).T
    return Gains(true.astype(np.int64), given.astype(np.int64), gain)


def _best_of_both(gains: Gains) -> list[tuple[int, int]]:
    """Return the pairs that gain enough, and more than all others of the same true class and of the same label."""
    seen: set[tuple[str, int]] = set()
    found = []
    for at in np.argsort(-gains.gain, kind="stable").tolist():
        if gains.gain[at] < PAIR_GAIN:
            break
        true, given = int(gains.true[at]), int(gains.given[at])
        ends = {("true", true), ("given", given)}
        if not ends & seen:
            found.append((true, given))
        seen |= ends
    return found


def fit_pairs(prior: Floats, labels: Codes, *, pairs: list[tuple[int, int]]) -> Fit:
    """Fit the share of random errors and the rate of each pair by expectation-maximisation; the likelihood is concave in them.

    Args:
        prior: ``[m, c]`` predictions at one temperature.
        labels: ``[m]``.
        pairs: (true class, given label).
    """
    classes, rows = prior.shape[1], len(labels)
    own, random = own_and_random(prior, labels)
    true = np.array([pair[0] for pair in pairs])
    at = [np.flatnonzero(labels == given) for _, given in pairs]
    number = np.repeat(np.arange(len(pairs)), [len(part) for part in at])
    at_all = np.concatenate(at)
    of_true = prior[at_all, true[number]].astype(np.float64)
    share, rate, before = 0.01, np.full(len(pairs), 0.1), -np.inf
    for _ in range(_ROUNDS):
        leaving = np.bincount(true, rate, minlength=classes)
        right = own * (1 - share) * np.maximum(1 - leaving[labels], 1 - _MOST_RATE)
        systematic = of_true * (1 - share) * rate[number]
        probability = np.maximum(right + share * random + np.bincount(at_all, systematic, minlength=rows), LEAST_PROBABILITY)
        kept = np.bincount(labels, right / probability, minlength=classes)
        changed = np.bincount(number, systematic / probability[at_all], minlength=len(pairs))
        replaced = share * float((random / probability).sum())
        likelihood = float(np.log(probability).sum())
        share = min(max(replaced, 0.5) / rows, 1 - 1 / classes)
        images = kept + np.bincount(true, changed, minlength=classes)
        rate = np.minimum(changed / np.maximum(images[true], 1e-9), _MOST_RATE)
        if likelihood - before < _TOLERANCE:
            break
        before = likelihood
    found = tuple(
        SystematicError(*pair, float((1 - share) * each), float(count / rows)) for pair, each, count in zip(pairs, rate, changed, strict=True)
    )
    return Fit(likelihood, share + sum(pair.share for pair in found), pairs=found)


def label_probability(prior: Floats, labels: Codes, fit: Fit) -> Doubles:
    """Return ``[m]``: the probability of each label under a fit of random errors and pairs."""
    own, random = own_and_random(prior, labels)
    leaving = np.zeros(prior.shape[1])
    for pair in fit.pairs:
        leaving[pair.true] += pair.rate
    found = own * np.maximum(1 - fit.random - leaving[labels], 1 - _MOST_RATE) + fit.random * random
    for pair in fit.pairs:
        rows = np.flatnonzero(labels == pair.given)
        found[rows] += pair.rate * prior[rows, pair.true]
    return np.maximum(found, LEAST_PROBABILITY)


def error_of_pairs(fit: Fit, logits: Floats, labels: Codes) -> float:
    """Return the standard error of the share of wrong labels under a fit of random errors and pairs; see `standard_error`."""
    colder, prior, warmer = priors_around(fit, logits)
    own, random = own_and_random(prior, labels)
    probability = label_probability(prior, labels, fit)
    gradients = [(random - own) / probability]
    for pair in fit.pairs:
        change = np.where(labels == pair.given, prior[:, pair.true], 0.0) - np.where(labels == pair.true, own, 0.0)
        gradients.append(change / probability)
    images = [pair.share / max(pair.rate, 1e-9) for pair in fit.pairs]
    return error_of_sum(gradients, np.array([1.0, *images]), label_probability(colder, labels, fit), label_probability(warmer, labels, fit))

"""Systematic errors: images of one class that carry the label of another, by a slip of a script or one annotator's confusion.

They concern one pair of classes, or a few, so they hardly raise the share of wrong labels, and a transition matrix, which has a parameter for every
two classes, cannot pay for itself. Here each pair has a rate of its own, next to the errors to any class, and is added where it raises the log
likelihood of the labels by `PAIR_GAIN`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.labels.noise_fits import LEAST_PROBABILITY, MOST_RATE, Fit, SystematicError, label_probability, own_and_random, probability_by_origin
from audit.predictions.calibration import softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]
    Search = Callable[[Callable[[Floats, Codes], Fit], float], Fit]

PAIR_GAIN = 15.0
"""Gain in log likelihood from which a pair of classes has a rate of its own."""

UNSEEN = 3.0
"""How many times the fitted number of images a pair may have. The models learn from the wrong labels as well, and take a part of them for what the
class looks like: of 28 planted pairs that were found, 1.1 to 2.7 times as many labels were wrong."""

_RATES = np.array([0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9])
_ADDITIONS, _ROUNDS = 8, 300
_TOLERANCE = 1e-3


class Gains(NamedTuple):
    """What each pair of classes would raise the log likelihood by; one value per candidate."""

    true: Codes
    given: Codes
    gain: Doubles


def add_pairs(search: Search, logits: Floats, labels: Codes, start: Fit) -> Fit:
    """Add pairs of classes to a fit, as long as one raises the log likelihood by `PAIR_GAIN`; return the last fit.

    Each round adds the pairs that are the best of both their classes, and fits everything and the temperature again.

    Args:
        search: fits at the best temperature, searched from a given one.
        logits: ``[m, c]`` logarithms of the predictions.
        labels: ``[m]``.
        start: fit of random errors, or of random and confusable ones.
    """
    found = start
    for _ in range(_ADDITIONS):
        new = _best_of_both(pair_gains(softmax(logits / np.float32(found.temperature)), labels, found))
        if not new:
            break
        pairs = [*((pair.true, pair.given) for pair in found.pairs), *new]
        found = search(partial(fit_pairs, pairs=pairs, confusable=start.confusable > 0), found.temperature)
    return found


def pair_gains(prior: Floats, labels: Codes, fit: Fit) -> Gains:
    """Return the gain of every pair of classes that is a candidate: some image with the one label is predicted as the other class.

    The likelihood is concave in the rate of a pair, and is evaluated at some rates with all else fixed.

    Args:
        prior: ``[m, c]`` predictions at the temperature of the fit.
        labels: ``[m]``.
        fit: the fit without the pair.
    """
    classes = prior.shape[1]
    own = own_and_random(prior, labels)[0]
    kept = 1 - fit.random - fit.confusable
    probability = label_probability(prior, labels, fit)
    known = {(pair.true, pair.given) for pair in fit.pairs}
    known |= {(given, true) for true, given in known}
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


def unseen_shares(prior: Floats, labels: Codes, fit: Fit) -> Doubles:
    """Return ``[c]``: which share of each class's labels may be wrong without being counted, 0..1; see `UNSEEN`.

    These are errors of the pairs of a fit, and of the best other pair if it gains half of what it must.

    Args:
        prior: ``[m, c]`` predictions at the temperature of the fit.
        labels: ``[m]``.
        fit: of any kind but a matrix.
    """
    unseen = np.zeros(prior.shape[1])
    for pair in fit.pairs:
        unseen[pair.given] += (UNSEEN - 1) * pair.share
    gains = pair_gains(prior, labels, fit)
    if gains.gain.max(initial=0) >= PAIR_GAIN / 2:
        best = int(gains.gain.argmax())
        pairs = [*((pair.true, pair.given) for pair in fit.pairs), (int(gains.true[best]), int(gains.given[best]))]
        unseen[pairs[-1][1]] += UNSEEN * fit_pairs(prior, labels, pairs=pairs, confusable=fit.confusable > 0).pairs[-1].share
    return np.asarray(np.minimum(unseen * len(labels) / np.maximum(np.bincount(labels, minlength=len(unseen)), 1), 1))


def _best_of_both(gains: Gains) -> list[tuple[int, int]]:
    """Return the pairs that gain enough, and more than all others of the same true class and of the same label."""
    seen: set[tuple[str, int]] = set()
    found = []
    for at in np.argsort(-gains.gain, kind="stable").tolist():
        if gains.gain[at] < PAIR_GAIN:
            break
        true, given = int(gains.true[at]), int(gains.given[at])
        ends = {("true", true), ("given", given)}
        if not ends & seen and (given, true) not in found:
            found.append((true, given))
        seen |= ends
    return found


def fit_pairs(prior: Floats, labels: Codes, *, pairs: list[tuple[int, int]], confusable: bool) -> Fit:
    """Fit the rate of each pair, next to random errors, by expectation-maximisation; the likelihood is concave in the probabilities.

    Args:
        prior: ``[m, c]`` predictions at one temperature.
        labels: ``[m]``.
        pairs: (true class, given label).
        confusable: whether errors to the most easily confused class are fitted as well.
    """
    classes, rows = prior.shape[1], len(labels)
    parts = probability_by_origin(prior, labels)
    true = np.array([pair[0] for pair in pairs])
    at_pair = [np.flatnonzero(labels == given) for _, given in pairs]
    number = np.repeat(np.arange(len(pairs)), [len(part) for part in at_pair])
    at = np.concatenate(at_pair)
    of_true = prior[at, true[number]].astype(np.float64)
    weights, rate, before = np.array([0.98, 0.01, 0.01 * confusable]), np.full(len(pairs), 0.1), -np.inf
    for _ in range(_ROUNDS):
        staying = np.maximum(1 - np.bincount(true, rate, minlength=classes), 1 - MOST_RATE)
        every = parts * weights
        every[:, 0] *= staying[labels]
        systematic = of_true * weights[0] * rate[number]
        probability = np.maximum(every.sum(1) + np.bincount(at, systematic, minlength=rows), LEAST_PROBABILITY)
        likelihood = float(np.log(probability).sum())
        every /= probability[:, None]
        changed = np.bincount(number, systematic / probability[at], minlength=len(pairs))
        replaced = every[:, 1:].sum(0)
        replaced[0] = max(replaced[0], 0.5)
        weights = np.array([max(rows - replaced.sum(), 0.5), *replaced]) / rows
        images = np.bincount(labels, every[:, 0], minlength=classes) + np.bincount(true, changed, minlength=classes)
        rate = np.minimum(changed / np.maximum(images[true], 1e-9), MOST_RATE)
        if likelihood - before < _TOLERANCE:
            break
        before = likelihood
    found = tuple(
        SystematicError(*pair, float(weights[0] * each), float(count / rows)) for pair, each, count in zip(pairs, rate, changed, strict=True)
    )
    return Fit(likelihood, float(weights[1:].sum()) + sum(pair.share for pair in found), float(weights[2]), found)

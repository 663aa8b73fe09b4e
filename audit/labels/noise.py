"""Noise model: estimate from predictions and given labels how many labels are wrong, and where the errors go.

An image of true class *j* is labelled *y* with probability ``T[j, y]`` (Dawid & Skene 1979, one annotator). Predictions are calibrated on the given
labels, so a model that is merely weak expects its own disagreement with them. What it cannot expect is a contradicted label on an image of which it
is sure: annotators err on easy images too, a weak model does not (anchor points: Liu & Tao 2016; Patrini et al. 2017). The temperature of the
predictions and the noise are therefore fitted together, by the likelihood of the given labels: the temperature alone would take errors for
uncertainty, the noise alone uncertainty for errors.

Four kinds of noise are compared. Errors to any other class are always assumed. Three kinds must be earned, by a gain in likelihood above what chance
gives: errors to the class that an image is most easily taken for, errors from single classes to single others (`audit.labels.systematic`), and errors
that depend on the two classes. The kind with the largest net gain is used (`_kinds`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from audit.io.blocks import some_of
from audit.labels.noise_fits import Fit, SystematicError, fit_confusable, fit_matrix, fit_share, standard_error
from audit.labels.systematic import PAIR_GAIN, add_pairs, unseen_shares
from audit.predictions.calibration import best_temperature, softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

ESTIMATION_ROWS = 20_000
"""Rows that the noise is estimated from, sampled at random; fewer with many classes."""

_CELLS, _LEAST_ROWS = 5_000_000, 2_000

CONFUSABLE_GAIN = 20.0
"""Gain in log likelihood from which errors to the most easily confused class are assumed. On planted sets with such errors it was 27 and more, and at
most 2 without; on 600 X-rays of 3 classes, which show nothing about it, 1 to 19 with and without."""

_LEAST = 1e-6
"""Predicted probabilities below this count as it."""
_COOLING, _COOLEST = 0.15, 1.2
"""Steps of the logarithm of the temperature, and the largest distance to the calibrated one. Colder still, the likelihood may have a second maximum
that takes all uncertainty of the models for errors."""
_Z = 1.96

Kind = Literal["random", "confusable", "systematic", "matrix"]


class Noise(NamedTuple):
    """Estimated label noise of a dataset."""

    share: float
    """Estimated share of wrong labels, without those on hard images that only `suspect` counts, 0..1."""
    share_interval: tuple[float, float]
    """Its 95% interval, from the curvature of the likelihood."""
    confusable: float
    """The part of ``share`` that goes to the classes for which an image is most easily taken."""
    systematic: tuple[SystematicError, ...]
    """Classes of which a part is labelled another class, the largest number of images first."""
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
    unseen: npt.NDArray[np.float64] | None = None
    """``[c]`` share of the labels of each class that may be wrong without being counted, as `unseen_shares` returns it; None with a matrix."""
    bias: tuple[float, float] = (1.0, 1.0)
    """By how much the odds of a wrong label may be lower and higher than stated, as `audit.labels.self_test` measures it; at most 1, at least 1."""

    @property
    def kind(self) -> Kind:
        """The kind of noise that the labels show."""
        if self.transition is not None:
            return "matrix"
        return "systematic" if self.systematic else "confusable" if self.confusable else "random"

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
        random = self.share - self.confusable - sum(pair.share for pair in self.systematic)
        found = np.full_like(prior, random / max(prior.shape[1] - 1, 1))
        if self.confusable:
            own = prior[at, labels][:, None]
            found += np.float32(self.confusable) * own / np.maximum(1 - prior, np.maximum(own, np.float32(1e-30)))
        found[at, labels] = 1 - random - self.confusable
        for pair in self.systematic:
            found[labels == pair.true, pair.true] -= pair.rate
            found[labels == pair.given, pair.true] += pair.rate
        return np.maximum(found, 0) if self.systematic else found


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

    Args:
        predictions: float ``[n, c]`` out-of-sample probabilities; NaN rows are skipped.
        given: int ``[n]`` columns of the given labels; -1 = none.
        images: ``[n]`` digests of the images; they make the sample of rows independent of row order.
        supplied: whether the predictions are the user's.
        kind: the only kind of noise to fit; None for the one that the labels show.
    """
    classes = predictions.shape[1]
    rows = estimation_rows(predictions, given, images)
    if classes < 2 or not len(rows):
        return Noise(0.0, (0.0, 0.0), 0.0, (), None, 1.0, 1.0, 0.0, supplied)
    block, labels = np.asarray(predictions[rows], dtype=np.float32), given[rows]
    order = np.lexsort((block[:, 1], block[:, 0], labels))  # the maximum of a flat likelihood depends on the order of sums
    block, labels = block[order], labels[order]
    logits = logarithms(block)
    calibrated = best_temperature(logits, labels)
    net, fits = _kinds(logits, labels, calibrated, kind)
    chosen = max(net, key=lambda name: net[name])
    found, error = fits[chosen], standard_error(fits[chosen], logits, labels)
    others = [] if chosen == "matrix" else [fit for name, fit in fits.items() if name not in (chosen, "matrix")]  # a matrix holds all kinds
    most = max(found.share + _Z * error, *(fit.share + _Z * standard_error(fit, logits, labels) for fit in others), found.share)
    unseen = None if chosen == "matrix" else unseen_shares(softmax(logits / np.float32(found.temperature)), labels, found)
    return Noise(
        share=found.share,
        share_interval=(max(found.share - _Z * error, 0.0), min(most, 1.0)),
        confusable=found.confusable,
        systematic=tuple(sorted(found.pairs, key=lambda pair: -pair.share)),
        transition=found.transition,
        temperature=found.temperature,
        calibrated=calibrated,
        decisiveness=float(block.max(1).mean(dtype=np.float64)),
        supplied=supplied,
        unseen=unseen,
    )


def _kinds(logits: Floats, labels: npt.NDArray[np.int64], calibrated: float, kind: Kind | None) -> tuple[dict[Kind, float], dict[Kind, Fit]]:
    """Fit the kinds of noise; return the net gain of each that may be chosen, and the fits.

    The gain is in log likelihood over random errors, less `CONFUSABLE_GAIN`, `PAIR_GAIN` for each pair of classes, or the number of parameters of the
    matrix (Akaike 1974).
    """
    classes = logits.shape[1]

    def search(fit: Callable[[Floats, npt.NDArray[np.int64]], Fit], start: float = calibrated) -> Fit:
        return _coolest_fit(fit, logits, labels, calibrated, start)

    if kind in ("random", "confusable", "matrix"):
        return {kind: 0.0}, {kind: search({"random": fit_share, "confusable": fit_confusable, "matrix": fit_matrix}[kind])}
    fits: dict[Kind, Fit] = {"random": search(fit_share)}
    least = fits["random"].likelihood
    net: dict[Kind, float] = {"random": 0.0}
    if classes > 2:
        fits["confusable"] = search(fit_confusable)
        net["confusable"] = fits["confusable"].likelihood - least - CONFUSABLE_GAIN
    # Pairs are added to random errors, and to confusable ones where these are earned.
    for start in [fit for name, fit in fits.items() if net[name] >= 0]:
        fit = add_pairs(search, logits, labels, start)
        gain = fit.likelihood - least - PAIR_GAIN * len(fit.pairs) - CONFUSABLE_GAIN * (start.confusable > 0)
        if fit.pairs and gain > net.get("systematic", -np.inf):
            fits["systematic"], net["systematic"] = fit, gain
    if kind == "systematic":
        name: Kind = kind if kind in fits else "random"
        return {name: 0.0}, {name: fits[name]}
    parameters = classes * (classes - 1)
    # No matrix can raise the likelihood of a label above 1.
    if classes > 2 and parameters < -least:
        fits["matrix"] = search(fit_matrix)
        net["matrix"] = fits["matrix"].likelihood - least - parameters
    return net, fits


def _coolest_fit(
    fit: Callable[[Floats, npt.NDArray[np.int64]], Fit], logits: Floats, labels: npt.NDArray[np.int64], calibrated: float, start: float
) -> Fit:
    """Cool the predictions from a temperature down to the first maximum of the likelihood, at most to `_COOLEST` below the calibrated one."""
    from scipy.optimize import minimize_scalar

    def at(step: float) -> Fit:
        temperature = calibrated * float(np.exp(step))
        return fit(softmax(logits / np.float32(temperature)), labels)._replace(temperature=temperature)

    step = float(np.log(start / calibrated))
    found = at(step)
    while step > -_COOLEST and (colder := at(step - _COOLING)).likelihood > found.likelihood + 1e-3:
        step, found = step - _COOLING, colder
    fits = [found]

    def loss(step: float) -> float:
        fits.append(at(step))
        return -fits[-1].likelihood

    minimize_scalar(loss, bounds=(step - _COOLING, step + _COOLING), method="bounded", options={"xatol": 0.01})
    return max(fits, key=lambda found: found.likelihood)


def logarithms(probabilities: Floats) -> Floats:
    """Return logarithms of probabilities, of which the least count as `_LEAST`."""
    return np.log(np.maximum(probabilities, np.float32(_LEAST)))

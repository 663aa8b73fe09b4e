"""Expected precision and recall of reviewing a list to a given depth, with intervals that reviewers' decisions narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.predictions.calibration import sigmoid

if TYPE_CHECKING:
    import numpy.typing as npt

PRIOR_SHIFT, PRIOR_SLOPE = 0.3, 0.2
"""Prior standard deviations of the shift and the slope (around 1) of the stated log odds, before any decisions; `shift_of` widens the first."""

_STEPS = 50


class Yield(NamedTuple):
    """Expected yield of reviewing the list to each depth; images already reviewed count with their outcome."""

    depth: npt.NDArray[np.int64]
    """``[m]`` images reviewed."""
    precision: npt.NDArray[np.float64]
    """``[m]`` expected share of them whose label is wrong."""
    low: npt.NDArray[np.float64]
    """``[m]`` lower end of the 95% interval."""
    high: npt.NDArray[np.float64]
    """``[m]`` upper end."""
    recall: npt.NDArray[np.float64]
    """``[m]`` expected share of all wrong labels found."""


class Calibration(NamedTuple):
    """Correction of stated probabilities: the log odds become ``shift + slope * log odds``."""

    shift: float
    slope: float
    covariance: npt.NDArray[np.float64]
    """``[2, 2]`` covariance of both."""


def shift_of(low: npt.NDArray[np.floating], high: npt.NDArray[np.floating], *, z: float = 1.96) -> float:
    """Return the standard deviation of the log odds' shift for which the interval of the estimated share of wrong labels is 95%.

    Args:
        low: ``[n]`` lower ends of the probabilities; NaN = unknown.
        high: ``[n]`` upper ends.
        z: half width of the interval in standard errors.
    """
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return PRIOR_SHIFT
    least, most = _log_odds(np.array([low[known].mean(dtype=np.float64), high[known].mean(dtype=np.float64)]))
    return max(float(most - least) / (2 * z), PRIOR_SHIFT)


def calibrate(probability: npt.NDArray[np.floating], outcome: npt.NDArray[np.floating], *, shift: float = PRIOR_SHIFT) -> Calibration:
    """Fit Platt's two parameters to the outcomes of reviews, with a normal prior around "as stated", and estimate their uncertainty.

    The maximum a posteriori is found by Newton's method, its covariance by Laplace's approximation (Bishop 2006, Pattern Recognition, 4.4).
    Reviewing only the head of the list causes no bias, since the fit conditions on the probabilities by which images were chosen.

    Args:
        probability: ``[n]`` stated probability, 0..1; NaN = not on the list.
        outcome: ``[n]`` 1 = the label was wrong, 0 = it was right, NaN = not decided.
        shift: prior standard deviation of the shift.
    """
    known = np.isfinite(probability) & np.isfinite(outcome)
    logits, happened = _log_odds(probability[known]), outcome[known].astype(np.float64)
    design = np.column_stack([np.ones(len(logits)), logits])
    prior = np.diag([shift**-2.0, PRIOR_SLOPE**-2.0])
    centre = np.array([0.0, 1.0])
    weights, hessian = centre.copy(), prior
    for _ in range(_STEPS):
        expected = sigmoid(design @ weights)
        gradient = design.T @ (expected - happened) + prior @ (weights - centre)
        hessian = (design * (expected * (1 - expected))[:, None]).T @ design + prior
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return Calibration(float(weights[0]), float(weights[1]), np.linalg.inv(hessian))


def calibrated(probability: npt.NDArray[np.floating], calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return corrected probabilities, 0..1; NaN stays NaN."""
    return sigmoid(calibration.shift + calibration.slope * _log_odds(probability))


def expected_yield(
    score: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating],
    depths: npt.NDArray[np.int64] | None = None,
    *,
    outcome: npt.NDArray[np.floating] | None = None,
    ends: tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]] | None = None,
    z: float = 1.96,
) -> Yield:
    """Return the expected share of wrong labels among the first images of the list.

    It is the mean of independent Bernoulli draws. Without decisions, the interval reaches from the mean of the lower to that of the upper ends of the
    probabilities, widened by the chance of the draws. With decisions, its variance is that of the draws plus the uncertainty of the calibration;
    decided images are fixed.

    Args:
        score: ``[n]`` order of the list, highest first; NaN = not on it.
        probability: ``[n]`` stated probability that a reviewer agrees.
        depths: numbers of images; by default every depth of the list.
        outcome: ``[n]`` 1 = decided to be wrong, 0 = decided to be right, NaN = not decided; None if nothing is decided.
        ends: ``[n]`` lower and ``[n]`` upper ends of the probabilities; None if they are unknown.
        z: half width of the interval in standard errors.
    """
    on_list = np.flatnonzero(np.isfinite(score) & np.isfinite(probability))
    order = on_list[np.argsort(-score[on_list], kind="stable")]
    depths = np.arange(1, len(order) + 1) if depths is None else depths[(depths >= 1) & (depths <= len(order))]
    stated = probability[order].astype(np.float64)
    found = np.full(len(order), np.nan) if outcome is None else outcome[order].astype(np.float64)
    calibration = calibrate(stated, found, shift=PRIOR_SHIFT if ends is None else shift_of(*(end[order] for end in ends), z=z))
    decided = np.isfinite(found)
    expected = np.where(decided, found, calibrated(stated, calibration))
    spread = np.where(decided, 0.0, expected * (1 - expected))
    total = np.cumsum(expected)
    # Delta method: derivatives of the sum by shift and slope.
    change = np.cumsum(np.column_stack([spread, spread * _log_odds(stated)]), axis=0)
    unknown = np.einsum("ij,jk,ik->i", change, calibration.covariance, change)
    at = depths - 1
    mean = total[at] / depths
    if ends is None or decided.any():
        half = z * np.sqrt(np.cumsum(spread)[at] + unknown[at]) / depths
        low, high = mean - half, mean + half
    else:
        most = ends[1][order].astype(np.float64)
        half = z * np.sqrt(np.cumsum(np.maximum(spread, most * (1 - most)))[at]) / depths
        low, high = np.cumsum(ends[0][order], dtype=np.float64)[at] / depths - half, np.cumsum(most)[at] / depths + half
    recall = total[at] / max(total[-1], 1e-12) if len(order) else np.empty(0)
    return Yield(depths, mean, np.clip(np.minimum(low, mean), 0, 1), np.clip(np.maximum(high, mean), 0, 1), recall)


def _log_odds(probability: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    inside = np.clip(probability.astype(np.float64), 1e-4, 1 - 1e-4)
    return np.log(inside) - np.log1p(-inside)

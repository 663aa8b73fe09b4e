"""Calibration of probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LOG_INVERSE_TEMPERATURES = (-3.0, 6.0)
_ROWS_AT_ONCE = 4096
_CELLS = 50_000_000


def softmax(logits: Floats) -> Floats:
    """Return probabilities ``[n, c]``; NaN rows stay NaN."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shifted /= shifted.sum(1, keepdims=True)
    return np.asarray(shifted, dtype=np.float32)


def sigmoid(logits: npt.NDArray[np.float64], *, limit: float = 30) -> npt.NDArray[np.float64]:
    """Return logistic probabilities; logits beyond ``limit`` on either side count as it."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -limit, limit))))


def most_to_calibrate(rows: int, classes: int) -> int:
    """Return the number of rows to fit a temperature on: ``rows``, or fewer with many classes (2,000 rows suffice for 22,000 classes)."""
    return min(rows, _CELLS // max(classes, 1))


def best_temperature(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature that minimises the log loss (Guo et al. 2017, On Calibration of Modern Neural Networks).

    Args:
        logits: ``[n, c]`` finite logits, or logarithms of probabilities, of out-of-sample rows.
        labels: ``[n]`` class codes.

    Returns:
        Divisor of the logits, 0.0025 to 20.
    """
    from scipy.optimize import brentq

    rows = len(labels)

    def slope(log_inverse: float) -> float:
        """Return the derivative of the mean loss with respect to the inverse temperature, in which the loss is convex."""
        total = 0.0
        for start in range(0, rows, _ROWS_AT_ONCE):
            block = logits[start : start + _ROWS_AT_ONCE].astype(np.float64)
            given = block[np.arange(len(block)), labels[start : start + len(block)]]
            weight = np.exp((block - block.max(1, keepdims=True)) * np.exp(log_inverse))
            total += float(((weight * block).sum(1) / weight.sum(1) - given).sum())
        return total / rows

    least, most = _LOG_INVERSE_TEMPERATURES
    if slope(least) >= 0:
        return float(np.exp(-least))
    if slope(most) <= 0:
        return float(np.exp(-most))
    # The loss is flat at its minimum, so the root of the slope is more precise.
    return float(np.exp(-brentq(slope, least, most, xtol=1e-9)))

"""Probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def softmax(logits: Floats) -> Floats:
    """Return probabilities ``[n, c]``; NaN rows stay NaN."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shifted /= shifted.sum(1, keepdims=True)
    return np.asarray(shifted, dtype=np.float32)


def best_temperature(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Find the temperature that minimises the log loss (Guo et al. 2017, On Calibration of Modern Neural Networks).

    Args:
        logits: ``[n, c]`` finite, of out-of-sample rows; logarithms of probabilities will do.
        labels: ``[n]`` class codes.

    Returns:
        What to divide the logits by, 0.0025 to 20.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.float32(np.exp(log_temperature))
        top = scaled.max(1)
        return float((np.log(np.exp(scaled - top[:, None]).sum(1)) + top - scaled[rows, labels]).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-6, 3), method="bounded", options={"xatol": 1e-3}).x))


def expected_calibration_error(probability: npt.NDArray[np.floating], happened: npt.NDArray[np.bool_], *, bins: int = 15) -> float:
    """Return the mean gap between stated probability and observed frequency over equally filled bins (Naeini et al. 2015), 0..1.

    Args:
        probability: ``[n]`` stated, in [0, 1].
        happened: ``[n]``.
        bins: how many.
    """
    if not len(probability):
        return 0.0
    order = np.argsort(probability, kind="stable")
    gaps = [len(part) * abs(float(probability[part].mean()) - float(happened[part].mean())) for part in np.array_split(order, min(bins, len(order)))]
    return sum(gaps) / len(order)

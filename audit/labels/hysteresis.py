"""Keep label reports steady: what was reported stays until it clearly is right, and what is new must clearly be wrong.

Fitting depends on all images, so a small change of a dataset moves the probabilities of the others by a few hundredths; some cross the threshold.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MARGIN = 0.5
"""Share of the distance from the threshold to 0 and to 1 that a probability must cross to change an earlier report. `benchmarks/stability.py` prints
the table from which it was chosen, leaving out one field at a time."""

NOT_REPORTED, REPORTED, UNKNOWN = 0, 1, -1
"""What an earlier scan did about an image with the same content, label and split; `UNKNOWN` if there was none."""


def bounds(threshold: float, margin: float = MARGIN) -> tuple[float, float]:
    """Return the probabilities below which a report is withdrawn, and from which an image that was not reported is.

    >>> bounds(0.5)
    (0.25, 0.75)
    """
    return threshold * (1 - margin), threshold + (1 - threshold) * margin


def reported(
    probability: npt.NDArray[np.float32], threshold: float, before: npt.NDArray[np.int8] | None, *, margin: float = MARGIN
) -> npt.NDArray[np.bool_]:
    """Return which images are reported.

    Args:
        probability: ``[n]`` that the label is wrong; NaN if unknown.
        threshold: from which an image without an earlier report is reported.
        before: ``[n]`` of `NOT_REPORTED`, `REPORTED` and `UNKNOWN`; None if there was no earlier scan.
        margin: as `MARGIN`.
    """
    if before is None:
        return np.asarray(probability >= threshold)
    low, high = bounds(threshold, margin)
    return np.asarray(probability >= np.choose(before + 1, [threshold, high, low]))

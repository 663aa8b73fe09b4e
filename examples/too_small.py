"""Images smaller than the input of a model, which training has to enlarge.

Run it on a finished scan with ``python too_small.py RUN``. To run it in every scan, put it into a package with an entry point in the group
``imagenet_audit.checks``; see docs/writing-a-check.md.

Blind spots: small images that were enlarged before they were stored.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

import audit
from audit.checks.base import Evidence, Family, Finding, Result

KINDS = ("too_small",)
FAMILY: Family = "quality"
EVIDENCE = {"width": Evidence("Width in pixels"), "height": Evidence("Height in pixels")}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The smallest size that is large enough."""

    shorter_side: int = 224
    """Shorter side in pixels; smaller images are reported."""


def enlargement(width: npt.NDArray[np.float64], height: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float32]:
    """Return how much images have to be enlarged.

    Args:
        width: ``[n]`` in pixels, NaN where an image failed.
        height: ``[n]`` likewise.
        side: sufficient shorter side, in pixels.

    Returns:
        ``[n]``: 0 for images that are large enough, 0.5 at half the size, up to 1; NaN stays NaN.
    """
    return np.maximum(1 - np.minimum(width, height) / side, 0).astype(np.float32)


def run(samples: pd.DataFrame, *, options: Options) -> Result:
    """Report each image whose shorter side is too small."""
    width, height = (samples[name].to_numpy(float, na_value=np.nan) for name in ("width", "height"))
    scores = enlargement(width, height, options.shorter_side)
    findings = [
        Finding(
            kind="too_small",
            score=float(scores[row]),
            severity="info",
            message=f"Only {width[row]:.0f} x {height[row]:.0f} pixels. Find a larger original, or drop it.",
            row=row,
            evidence={"width": int(width[row]), "height": int(height[row])},
        )
        for row in np.flatnonzero(scores > 0).tolist()
    ]
    return Result(scores, findings)


if __name__ == "__main__":
    table = audit.open_run(sys.argv[1]).samples
    names = table["sample_id"].tolist()
    for found in run(table, options=Options()).findings:
        if found.row is not None:
            print(f"{names[found.row]}: {found.message}")

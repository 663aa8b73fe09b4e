"""What the comparison of two images measures."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

MEASURES = ("fine", "middle", "coarse", "middle_lower", "inliers")
"""Fisher's z of the blocks' correlations, medians of the three bands and one lower quartile, each times the logarithm of the number of blocks, since
agreement in many places is worth more; the logarithm of the number of inliers."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Measurements of ``m`` aligned pairs."""

    correlation: Floats
    """Correlation of luma, -1..1."""
    detail_correlation: Floats
    """Correlation of luma details, -1..1: of thumbnails the mean over blocks, else the median; 0 if an image has too little detail."""
    residual: Floats
    """Mean absolute difference of luma after matching brightness and contrast, 0..1."""
    color_difference: Floats
    """Mean absolute difference of the RGB values, 0..1."""
    local_difference: Floats
    """The same in the cell where it is largest: an overlay changes only part of an image."""
    mirrored: npt.NDArray[np.bool_]
    transform: Floats
    """``[m, 2, 3]``: coordinates in the first image -> in the second one (mirrored first if ``mirrored``); 0..1 along both sides."""
    compared_at: npt.NDArray[np.int16]
    """Long side of the coarser image in pixels, as compared; 0 if the images do not align."""
    measures: Floats
    """``[m, 5]``: ``MEASURES``; zero for thumbnails and for images that do not align."""
    contradicted: Floats
    """Share of the blocks in which both images show something and it differs, 0..1, without those under a caption."""
    blur: Floats
    """Standard deviation, in pixels as compared, of the blur that makes the first image as soft as the second; negative for the reverse; 0 for
    thumbnails."""
    votes: Floats
    """How distinctive the agreement of local features is, the order in which pairs are compared; 0 for thumbnails."""

    def take(self, which: npt.NDArray[np.bool_] | Rows) -> Evidence:
        """Return the selected pairs."""
        return Evidence(*(getattr(self, field.name)[which] for field in fields(self)))

    def put(self, at: Rows, other: Evidence) -> Evidence:
        """Return this evidence with that of some pairs replaced."""
        changed = {}
        for field in fields(self):
            changed[field.name] = getattr(self, field.name).copy()
            changed[field.name][at] = getattr(other, field.name)
        return Evidence(**changed)


def nothing(count: int) -> Evidence:
    """Return the evidence of pairs that do not align."""
    zero = np.zeros(count, np.float32)
    identity = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    measures = np.zeros((count, len(MEASURES)), np.float32)
    return Evidence(*(zero,) * 5, np.zeros(count, bool), identity, np.zeros(count, np.int16), measures, zero, zero, zero)


def concatenated(parts: list[Evidence]) -> Evidence:
    """Concatenate evidence in order; empty without parts."""
    parts = parts or [nothing(0)]
    return Evidence(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Evidence)))

"""Name what was done to one of two copies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.pairs.evidence import Evidence
from audit.pairs.score import BLURRED, SAME_ENCODING_DIFFERENCE, SAME_ENCODING_LOCALLY

Doubles = npt.NDArray[np.float64]

_WHOLE = 0.97
"""Share of an image from which it counts as whole: a pixel or two at the borders are lost by rounding."""
_TURNED, _RIGHT_ANGLE = 2.0, 1.5
"""Degrees from which an image is turned, and within which the turn is a right angle."""
_STRETCHED = 1.05
_RESIZED = 1.05
_OVERLAID = 3.0
"""Ratio of the largest difference of a cell to the mean of all above which one part was changed."""


def shares(transform: Doubles) -> tuple[Doubles, Doubles]:
    """Return the share of each first image that the second covers, and the share of the second that the first covers, 0..1.

    Args:
        transform: ``[m, 2, 3]`` coordinates in the first image -> in the second one, 0..1 along both sides.
    """
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)

    def covered(matrix: Doubles) -> float:
        placed = points @ matrix[:, :2].T + matrix[:, 2]
        return float(((placed > 0) & (placed < 1)).all(axis=1).mean())

    back = np.linalg.pinv(transform[:, :, :2])
    inverses = np.concatenate([back, -back @ transform[:, :, 2:]], axis=2)
    of_first, of_second = (np.array([covered(matrix) for matrix in matrices]) for matrices in (transform, inverses))
    # If one image contains the other, the areas say how much of it more exactly than the points do.
    area = np.abs(np.linalg.det(transform[:, :, :2])) if len(transform) else np.zeros(0)
    whole = of_first >= _WHOLE, of_second >= _WHOLE
    return np.where(whole[1], (1 / area).clip(0, 1), of_first), np.where(whole[0], area.clip(0, 1), of_second)


_POINTS = 48
"""Points along each side at which coverage is sampled."""


def edits(evidence: Evidence, transform: Doubles, covered: tuple[Doubles, Doubles], first_size: Doubles, second_size: Doubles) -> list[list[str]]:
    """Return, for each pair, what distinguishes the second image from the first, such as "mirrored" or "cropped to 62%".

    Args:
        evidence: ``m`` pairs.
        transform: ``[m, 2, 3]`` coordinates in the first image -> in the second one (mirrored first if ``mirrored``), 0..1 along both sides.
        covered: the ``shares`` of the transformations.
        first_size: ``[m, 2]`` width and height in pixels.
        second_size: ``[m, 2]``.
    """
    of_first, of_second = covered
    pixels = transform[:, :, :2] * second_size[:, :, None] / first_size[:, None]
    angles = np.degrees(np.arctan2(pixels[:, 1, 0] - pixels[:, 0, 1], pixels[:, 0, 0] + pixels[:, 1, 1])).round(1)
    scales = np.linalg.norm(pixels, axis=1)
    named = []
    for row in range(len(transform)):
        found = _orientation(float(angles[row]), mirrored=bool(evidence.mirrored[row]))
        smaller, larger = sorted(scales[row].tolist())
        if larger > _STRETCHED * smaller:
            found.append(f"squashed by {1 - smaller / larger:.0%}")
        elif not 1 / _RESIZED < larger < _RESIZED:
            found.append(f"scaled to {larger:.0%}")
        if of_first[row] < _WHOLE:
            found.append(f"cropped to {of_first[row]:.0%}")
        if of_second[row] < _WHOLE:
            found.append(f"contained, as {of_second[row]:.0%} of the image")
        if min(of_first[row], of_second[row]) >= _WHOLE and abs(evidence.blur[row]) >= BLURRED:  # else the surroundings count
            found.append("blurred" if evidence.blur[row] > 0 else "sharper")
        difference, locally = float(evidence.color_difference[row]), float(evidence.local_difference[row])
        if locally > max(SAME_ENCODING_LOCALLY, _OVERLAID * difference):
            found.append("overlaid")
        elif difference > SAME_ENCODING_DIFFERENCE:
            found.append("recolored")
        named.append(found)
    return named


def _orientation(angle: float, *, mirrored: bool) -> list[str]:
    right = round(angle / 90) * 90 % 360
    if abs((angle - right + 180) % 360 - 180) > _RIGHT_ANGLE:
        return [*(["mirrored"] if mirrored else []), *([f"turned by {abs(angle):.0f}°"] if abs(angle) > _TURNED else [])]
    if mirrored and right == 180:
        return ["flipped upside down"]
    return [*(["mirrored"] if mirrored else []), *([f"turned by {right}°"] if right else [])]

"""Overlay two copies of an image to show what was changed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def aligned(first: Pixels, second: Pixels, *, transform: Sequence[float], mirrored: bool) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Return the second image warped onto the first.

    Args:
        first: uint8 ``[h, w, 3]``, the pair's image ``i``.
        second: uint8 ``[h2, w2, 3]``, the pair's image ``j``, of any size.
        transform: six numbers of the pair's evidence: row by row, the 2 x 3 matrix from coordinates in the first image to those in the second one
            (mirrored first if ``mirrored``); 0..1 along both sides.
        mirrored: from the pair's evidence.

    Returns:
        uint8 ``[h, w, 3]``, and bool ``[h, w]``: where the second image covers the first.
    """
    (height, width), (other_height, other_width) = first.shape[:2], second.shape[:2]
    into = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    place = np.vstack([np.reshape(transform, (2, 3)), [0, 0, 1]]) @ into
    # If several pixels of the second image fall on one of the first, average them: their detail would count as a difference.
    steps = np.linalg.norm(place[:2, :2], axis=1) * (other_width, other_height)
    if steps.max() > 1:
        other_width, other_height = (max(round(side / max(step, 1)), 1) for side, step in zip((other_width, other_height), steps, strict=True))
        second = np.asarray(cv2.resize(second, (other_width, other_height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    out = np.array([[other_width, 0, -0.5], [0, other_height, -0.5], [0, 0, 1]])
    matrix = (out @ place)[:2]
    turned = np.ascontiguousarray(second[:, ::-1]) if mirrored else second
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(turned, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = (matrix[axis, 0] * np.arange(width)[None] + matrix[axis, 1] * np.arange(height)[:, None] + matrix[axis, 2] for axis in (0, 1))
    covered = (x > -0.5) & (x < other_width - 0.5) & (y > -0.5) & (y < other_height - 0.5)
    return np.asarray(warped, dtype=np.uint8), np.asarray(covered, dtype=bool)


def difference_map(first: Pixels, second: Pixels, *, transform: Sequence[float], mirrored: bool) -> Floats:
    """Return ``[h, w]``: mean absolute RGB difference of two copies, 0..1; NaN where the second does not cover the first.

    Args:
        first: uint8 ``[h, w, 3]``.
        second: uint8 ``[h2, w2, 3]``.
        transform: as for ``aligned``.
        mirrored: as for ``aligned``.
    """
    other, covered = aligned(first, second, transform=transform, mirrored=mirrored)
    difference = np.abs(first.astype(np.float32) - other).mean(axis=2) / 255
    return np.asarray(np.where(covered, difference, np.nan), dtype=np.float32)

"""Register two images by their local features, in any orientation, and refine the transformation on their pixels.

MAGSAC++: Barath et al. 2020, "MAGSAC++, a Fast, Reliable and Accurate Robust Estimator", CVPR. ECC: Evangelidis & Psarakis 2008, "Parametric Image
Alignment Using Enhanced Correlation Coefficient Maximization", IEEE TPAMI 30(10).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from audit.images.local_features import COMPARED_SIDE, LocalFeatures

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_RATIO = 0.85
"""Largest ratio of the distances to the nearest and the second nearest descriptor (Lowe 2004, section 7.1)."""

_TOLERANCE = 2.5 / COMPARED_SIDE
"""Largest distance between a feature and its image under the transformation, as a share of the long side; at least ``_LEAST_TOLERANCE`` pixels."""
_LEAST_TOLERANCE = 1.2
_FEWEST = 4
"""Distinct spots that must agree; three define an affine transformation."""

_SCALES, _MOST_STRETCH = (0.12, 8.0), 1.6
"""Scale, and ratio of the scales along two axes, beyond which an agreement is a coincidence."""

LEAST_OVERLAP = 0.03
_STEPS, _PRECISION, _SMOOTHING = 12, 1e-4, 3
_SAME_SCALE = 0.95
_WORSE = 1e-3


@dataclass(frozen=True, slots=True)
class Registration:
    """A transformation that features of two images agree on."""

    matrix: Doubles
    """``[2, 3]``: pixels of the second image, mirrored before where ``mirrored`` -> pixels of the first one."""
    mirrored: bool
    inliers: int
    """Distinct spots that agree."""


def register(first: LocalFeatures, second: LocalFeatures, *, mirrored: bool) -> Registration | None:
    """Return the transformation on which most features agree; None if fewer than four do.

    Args:
        first: the first image.
        second: the second image.
        mirrored: whether to register the mirrored second image.
    """
    second = second.mirrored() if mirrored else second
    mine, theirs = _matches(first.descriptors, second.descriptors)
    if len(mine) < _FEWEST:
        return None
    one, two = first.points[mine], second.points[theirs]
    tolerance = max(_LEAST_TOLERANCE, _TOLERANCE * max(first.gray.shape))
    matrix, inside = cv2.estimateAffine2D(two, one, method=cv2.USAC_MAGSAC, ransacReprojThreshold=tolerance, maxIters=2000, confidence=0.999)
    if matrix is None or not _plausible(matrix):
        return None
    inliers = inside.ravel() > 0
    distinct = min(len(np.unique(np.round(points[inliers]), axis=0)) for points in (one, two))
    return Registration(np.asarray(matrix, np.float64), mirrored, distinct) if distinct >= _FEWEST else None


def refine(
    coarse: LocalFeatures, fine: LocalFeatures, matrix: Doubles, start: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]
) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Return the transformation from the finer image to the coarser one that maximises their correlation, and what it covers.

    Args:
        coarse: the image with fewer pixels for the same thing.
        fine: the other image.
        matrix: ``[2, 3]`` pixels of ``fine`` -> pixels of ``coarse``; returned if none is better.
        start: ``fine`` by ``matrix``, as ``warped`` returns it.
        inside: what it covers, as ``covered`` returns it.
    """
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, _STEPS, _PRECISION)
    try:
        _, step = cv2.findTransformECC(
            coarse.gray, start, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, inside.astype(np.uint8) * 255, _SMOOTHING
        )
    except cv2.error:  # flat, or already as good as it gets
        return matrix, inside
    better = (np.vstack([inverse(np.asarray(step, np.float64)), [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]]))[:2]
    if not _plausible(better):
        return matrix, inside
    moved = covered(fine.gray, better, coarse.gray)
    if moved.mean() < LEAST_OVERLAP:
        return matrix, inside
    before, after = _fit(coarse.gray, start, inside), _fit(coarse.gray, warped(fine.gray, better, coarse.gray), moved)
    return (better, moved) if after >= before - _WORSE else (matrix, inside)


def warped(image: npt.NDArray[np.uint8], matrix: Doubles, onto: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image in the frame of a coarser one, without the details that one cannot show."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < _SAME_SCALE:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1))
    return np.asarray(cv2.warpAffine(image, matrix, onto.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def covered(image: npt.NDArray[np.uint8], matrix: Doubles, onto: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which pixels of ``onto`` an image covers."""
    return np.asarray(cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, onto.shape[1::-1]) > 250)


def inverse(matrix: Doubles) -> Doubles:
    """Return the inverse of an affine ``[2, 3]`` matrix."""
    return np.asarray(np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2], np.float64)


def _plausible(matrix: Doubles) -> bool:
    """Return whether an affine matrix neither collapses nor blows up nor strongly stretches an image."""
    if not np.isfinite(matrix).all():
        return False
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(_SCALES[0] < small and large < _SCALES[1] and large < _MOST_STRETCH * small)


def _matches(mine: Floats, theirs: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the positions of descriptors whose nearest one is distinctly nearer than the second nearest."""
    if len(mine) < _FEWEST or len(theirs) < _FEWEST:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    cosines = cv2.gemm(mine, theirs, 1, None, 0, flags=cv2.GEMM_2_T)
    rows = np.arange(len(mine))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    cosines[rows, nearest] = -1
    distances = [np.sqrt(np.maximum(2 - 2 * cosine, 0)) for cosine in (best, cosines.max(axis=1))]
    distinctive = np.flatnonzero(distances[0] < _RATIO * distances[1])
    return distinctive, nearest[distinctive]


def _fit(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> float:
    a, b = (image[inside].astype(np.float32) for image in (one, other))
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1.0)

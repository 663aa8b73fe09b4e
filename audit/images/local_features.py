"""Local features: spots of an image that are found again when it is turned, mirrored, scaled, cropped or put into another image.

SIFT: Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints", International Journal of Computer Vision 60(2). RootSIFT: Arandjelovic &
Zisserman 2012, "Three things everyone should know to improve object retrieval", CVPR. A mirrored image's descriptors are a permutation of the
original's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from audit.tables import FEATURE_BYTES, FEATURES

Floats = npt.NDArray[np.float32]

LEAST_SIDE = 49
"""Long side, in pixels, below which an image has no local features: its spots are about as large as the image."""

_CODED_SIDE = 192
"""Long side, in pixels, at which features for candidates are found; they need 5 ms."""
_CODED_CONTRAST = 0.01
_CELLS = 4
"""Cells along each side over which features are spread: else a caption takes them all."""

_LARGE, _LARGE_ONES = 6.5, 32
"""Size in pixels of spots that remain when the image is reduced to 0.4, as inside a screenshot, and how many of the stored ones have it."""

COMPARED_SIDE = 320
"""Long side, in pixels, at which two images are compared; smaller images keep their size."""
_DETECTED_SIDE = 224
"""Long side at which the features of an image to be compared are found. SIFT itself doubles it."""
_MOST_FEATURES = 400
_CONTRAST = 0.02
"""Half of SIFT's default: smooth images such as X-rays have few strong spots."""

_SIZE_STEPS = 16
"""Steps of a stored size to an octave."""

_cells = np.arange(128).reshape(4, 4, 8)
_MIRRORED = _cells[::-1, :, :][:, :, -np.arange(8) % 8].ravel()
"""A descriptor has 4 x 4 cells along the keypoint's own axes and 8 directions; a mirror reverses the rows and the sense of rotation."""


@dataclass(frozen=True, slots=True)
class LocalFeatures:
    """An image at the size at which it is compared, and its features."""

    color: npt.NDArray[np.uint8]
    """``[h, w, 3]`` RGB."""
    gray: npt.NDArray[np.uint8]
    """``[h, w]`` luma."""
    points: Floats
    """``[k, 2]`` x and y in pixels of ``gray``."""
    descriptors: Floats
    """``[k, 128]`` unit vectors."""

    def mirrored(self) -> LocalFeatures:
        """Return the features of the mirrored image."""
        points = self.points * np.array([-1, 1], np.float32) + np.array([self.gray.shape[1] - 1, 0], np.float32)
        color, gray = (np.ascontiguousarray(image[:, ::-1]) for image in (self.color, self.gray))
        return LocalFeatures(color, gray, points, self.descriptors[:, _MIRRORED])


def local_features(pixels: npt.NDArray[np.uint8]) -> LocalFeatures:
    """Return the features of an upright RGB image, uint8 ``[h, w, 3]``, at up to ``COMPARED_SIDE`` pixels."""
    color = _limited(pixels, COMPARED_SIDE)
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
    seen = _resized(gray, _DETECTED_SIDE)
    keypoints, found = _detector(_MOST_FEATURES, _CONTRAST).detectAndCompute(seen, None)
    if found is None:
        return LocalFeatures(color, gray, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    scale = np.array([gray.shape[1] / seen.shape[1], gray.shape[0] / seen.shape[0]], np.float32)
    points = (np.array([keypoint.pt for keypoint in keypoints], np.float32) + 0.5) * scale - 0.5
    return LocalFeatures(color, gray, points, _rooted(found))


def features(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the strongest local features of an image, in few bytes each, for comparison with many images.

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB.

    Returns:
        uint8 ``[FEATURES, FEATURE_BYTES]``; each row is 128 bits that describe the spot, x and y (255 = the image's long side), the direction (256 =
        360 degrees) and the size (``_SIZE_STEPS`` to an octave; 0 = no feature). Of a small image, all are zero.
    """
    stored = np.zeros((FEATURES, FEATURE_BYTES), np.uint8)
    if max(pixels.shape[:2]) < LEAST_SIDE:
        return stored
    gray = _resized(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), _CODED_SIDE)
    detector = _detector(0, _CODED_CONTRAST)
    keypoints = _chosen(detector.detect(gray, None), gray.shape)
    if keypoints:
        keypoints, found = detector.compute(gray, keypoints)
        place = np.array([(*keypoint.pt, keypoint.angle * 256 / 360, keypoint.size) for keypoint in keypoints])
        stored[: len(place), :16] = np.packbits(cv2.gemm(_rooted(found), _PROJECTION, 1, None, 0) > 0, axis=1)  # NumPy's would start threads
        stored[: len(place), 16:18] = np.round((place[:, :2] + 0.5) * 255 / _CODED_SIDE).clip(0, 255)
        stored[: len(place), 18] = np.round(place[:, 2]).astype(np.int64) % 256
        stored[: len(place), 19] = np.round(np.log2(place[:, 3]) * _SIZE_STEPS).clip(1, 255)
    return stored


def _chosen(keypoints: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Return the keypoints to be stored: the strongest large ones, then the strongest of the others."""
    by_size: list[list[Any]] = [[], []]
    for keypoint in keypoints:
        by_size[keypoint.size < _LARGE].append(keypoint)
    large = _spread(by_size[0], shape)
    return (large[:_LARGE_ONES] + _spread(by_size[1] + large[_LARGE_ONES:], shape))[:FEATURES]


def _spread(keypoints: list[Any], shape: Sequence[int]) -> list[Any]:
    """Return keypoints ordered by turns: the strongest of each cell first."""
    if not keypoints:
        return []
    response = np.array([keypoint.response for keypoint in keypoints])
    place = np.array([keypoint.pt for keypoint in keypoints])
    across, down = (np.minimum(place[:, axis] * _CELLS // shape[1 - axis], _CELLS - 1).astype(np.int64) for axis in (0, 1))
    cell = down * _CELLS + across
    order = np.lexsort((place[:, 0], place[:, 1], -response, cell))
    turn = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])
    return [keypoints[at] for at in order[np.lexsort((-response[order], turn))]]


@cache
def _detector(most: int, contrast: float) -> Any:
    return cv2.SIFT.create(nfeatures=most, contrastThreshold=contrast)


def _rooted(descriptors: Floats) -> Floats:
    return np.asarray(np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)), np.float32)


def _limited(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    return _resized(pixels, side) if max(pixels.shape[:2]) > side else np.ascontiguousarray(pixels)


def _resized(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return an image whose long side has this many pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def _projection() -> Floats:
    """Return ``[128, 128]`` projections of a descriptor whose signs describe it.

    They are blind to what all descriptors share: each sums to zero over the entries of one ring of cells and one direction from the keypoint's own.
    A mirror leaves the first half of the projections as they are and changes the sign of the others.
    """
    down, right, direction = (axis.ravel() for axis in np.meshgrid(range(4), range(4), range(8), indexing="ij"))
    kind = (np.abs(down - 1.5) > 1) * 16 + (np.abs(right - 1.5) > 1) * 8 + np.minimum(direction, 8 - direction)
    weights = np.random.default_rng(0).normal(size=(128, 128))
    for one in np.unique(kind):
        weights[kind == one] -= weights[kind == one].mean(axis=0)
    mirrored = weights[_MIRRORED]
    weights[:, :64] += mirrored[:, :64]
    weights[:, 64:] -= mirrored[:, 64:]
    return weights.astype(np.float32)


_PROJECTION = _projection()

MIRROR_BITS = np.packbits(np.arange(128) >= 64)
"""``[16]`` bits of a description that a mirror inverts."""

"""Pixels -> numbers. Pure functions over one image; units and ranges are those of ``audit.tables.MEASURES``."""

from __future__ import annotations

import hashlib
import math

import cv2
import numpy as np
import numpy.typing as npt

from audit.tables import THUMBNAIL_SIDE

Pixels = npt.NDArray[np.uint8]

MEASURED_SIDE = 256
"""Short side, in pixels, to which larger images are reduced before they are measured: sharpness and noise depend on scale, so all are judged at one."""


def pixel_id(pixels: Pixels) -> str:
    """Return a hash of an image's size and pixels, hex, 32 characters (BLAKE2b, RFC 7693).

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


def reduced(pixels: Pixels, short_side: int = MEASURED_SIDE) -> Pixels:
    """Return the image with its short side reduced to at most ``short_side`` by area averaging; smaller images unchanged."""
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def thumbnail(pixels: Pixels) -> Pixels:
    """Return the whole image squashed to ``THUMBNAIL_SIDE`` x ``THUMBNAIL_SIDE`` pixels, uint8 RGB."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    shrinks = min(pixels.shape[:2]) >= THUMBNAIL_SIDE
    return np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), dtype=np.uint8)


def perceptual_hash(small: Pixels) -> int:
    """Return a 64-bit hash whose Hamming distance is small for pictures that look alike.

    The 8 x 8 lowest frequencies of the 32 x 32 luma's discrete cosine transform, each compared with their median (Zauner 2010, "Implementation and
    Benchmarking of Perceptual Image Hash Functions", section 3.2.1).

    Args:
        small: uint8 ``[s, s, 3]``, as made by ``thumbnail``.
    """
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if luma.shape != (32, 32):
        luma = cv2.resize(luma, (32, 32), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(luma.astype(np.float32)))[:8, :8].ravel()
    # The constant term is the brightness; a hash bit that always says "bright" would carry nothing.
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def quality(pixels: Pixels) -> dict[str, float]:
    """Measure how an image looks: luma, sharpness, information and color.

    Args:
        pixels: uint8 ``[h, w, 3]`` RGB, as made by ``reduced``.

    Returns:
        ``brightness``, ``luma_p01``, ``luma_p99``, ``contrast`` and ``chroma`` in [0, 1] (luma of ITU-R BT.601); ``sharpness`` as
        log10(1 + variance of the Laplacian) of 8-bit luma (Pech-Pacheco et al. 2000); ``entropy`` of the 8-bit luma histogram in bits (Shannon 1948).
    """
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    histogram = np.bincount(luma.ravel(), minlength=256)
    share = histogram / luma.size
    levels = np.arange(256)
    mean = float(share @ levels)
    cumulative = np.cumsum(share)
    p01, p99 = np.searchsorted(cumulative, [0.01, 0.99])
    present = share[share > 0]
    laplacian = cv2.Laplacian(luma, cv2.CV_16S)
    _, deviation = cv2.meanStdDev(laplacian)
    spread = cv2.subtract(pixels.max(axis=2), pixels.min(axis=2))
    chroma = np.searchsorted(np.cumsum(np.bincount(np.asarray(spread).ravel(), minlength=256)), 0.99 * luma.size)
    return {
        "brightness": mean / 255,
        "luma_p01": min(int(p01), 255) / 255,
        "luma_p99": min(int(p99), 255) / 255,
        "contrast": math.sqrt(max(float(share @ (levels - mean) ** 2), 0.0)) / 255,
        "sharpness": math.log10(1 + float(deviation[0, 0]) ** 2),
        "entropy": float(-(present @ np.log2(present))) + 0.0,
        "chroma": min(int(chroma), 255) / 255,
    }

"""Measure the pixels of one image. Pure functions; ``audit.tables.MEASURES`` lists units and ranges."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import xxhash

from audit.tables import THUMBNAIL_SIDE

Pixels = npt.NDArray[np.uint8]

MEASURED_SIDE = 256
"""Short side, in pixels, to which larger images are downscaled before measuring, because sharpness and noise depend on scale."""

_CHROMA_SIDE = 96
"""Points along the short side of the grid on which color is sampled; enough for a percentile."""


def pixel_id(pixels: npt.NDArray[np.generic]) -> str:
    """Return a 128-bit hash of an image's size and pixels, hex (XXH3; not collision-resistant against forgery, which would gain nothing here).

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB, or all channels of an image that RGB does not show as it is.
    """
    digest = xxhash.xxh3_128(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).view(np.uint8).data)
    return str(digest.hexdigest())


def luma_at_measured_side(pixels: Pixels) -> Pixels:
    """Return an image's 8-bit luma (ITU-R BT.601), its short side downscaled to at most ``MEASURED_SIDE``; smaller images keep their size.

    Averages over whole factors, then interpolates linearly by a factor below two: as accurate as averaging throughout, at a fifth of the time.
    """
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    height, width = luma.shape
    factor = min(height, width) // MEASURED_SIDE
    if factor > 1:
        size = width // factor, height // factor
        luma = np.asarray(cv2.resize(luma[: size[1] * factor, : size[0] * factor], size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    height, width = luma.shape
    scale = MEASURED_SIDE / min(height, width)
    if scale >= 1:
        return luma
    return np.asarray(cv2.resize(luma, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def thumbnail(pixels: Pixels) -> Pixels:
    """Return the whole image resized to ``THUMBNAIL_SIDE`` x ``THUMBNAIL_SIDE`` pixels, uint8 RGB."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    shrinks = min(pixels.shape[:2]) >= THUMBNAIL_SIDE
    return np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), dtype=np.uint8)


def perceptual_hash(small: Pixels) -> int:
    """Return a 64-bit hash whose Hamming distance is small for images that look alike.

    The 8 x 8 lowest frequencies of the 32 x 32 luma's discrete cosine transform, each compared with their median (Zauner 2010, "Implementation and
    Benchmarking of Perceptual Image Hash Functions", section 3.2.1).

    Args:
        small: uint8 ``[s, s, 3]``, from ``thumbnail``.
    """
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if luma.shape != (32, 32):
        luma = cv2.resize(luma, (32, 32), interpolation=cv2.INTER_AREA)
    return int(_signs(_low_frequencies(luma[None]))[0])


def orientation_free_hashes(smalls: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a hash per image that is the same in all eight orientations: ``perceptual_hash`` of the image once turned and mirrored to a standard.

    The standard is read from the two lowest frequencies: both are positive, and the horizontal one is the stronger. A mirror changes the signs of the
    odd frequencies of one axis; a turn by 90 degrees exchanges the axes as well.

    Args:
        smalls: uint8 ``[m, 32, 32, 3]``, from ``thumbnail``.
    """
    luma = smalls.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    low = _low_frequencies(luma)
    low = np.where((np.abs(low[:, 1, 0]) > np.abs(low[:, 0, 1]))[:, None, None], low.transpose(0, 2, 1), low)
    odd = np.arange(8) % 2 == 1
    low = np.where((low[:, 0, 1] < 0)[:, None, None] & odd[None, None, :], -low, low)
    low = np.where((low[:, 1, 0] < 0)[:, None, None] & odd[None, :, None], -low, low)
    return _signs(low)


def _low_frequencies(luma: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return the 8 x 8 lowest frequencies of the cosine transform of ``[m, 32, 32]`` luma, without rounding errors: flat images have ties."""
    return np.asarray(np.round(_DCT @ luma.astype(np.float64) @ _DCT.T, 6), np.float64)


def _signs(low: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of ``[m, 8, 8]`` frequencies: each compared with their median, without the constant term.

    The constant term is the brightness: its bit would be the same for almost every image.
    """
    flat = low.reshape(len(low), 64)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).ravel()


_FREQUENCIES = np.arange(8)[:, None] * (2 * np.arange(THUMBNAIL_SIDE)[None] + 1)
_DCT = np.cos(np.pi / (2 * THUMBNAIL_SIDE) * _FREQUENCIES) * np.where(np.arange(8) == 0, 1, np.sqrt(2))[:, None] / np.sqrt(THUMBNAIL_SIDE)
"""The 8 lowest frequencies of the orthonormal discrete cosine transform (type II)."""


def quality(pixels: Pixels) -> dict[str, float]:
    """Measure luma, sharpness, entropy and color.

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB.

    Returns:
        ``brightness``, ``luma_p01``, ``luma_p99``, ``contrast`` and ``chroma`` in [0, 1]; ``sharpness`` as log10(1 + variance of the Laplacian) of
        8-bit luma (Pech-Pacheco et al. 2000); ``entropy`` of the luma histogram in bits (Shannon 1948). Columns of ``audit.tables.MEASURES``.
    """
    luma = luma_at_measured_side(pixels)
    share = np.bincount(luma.ravel(), minlength=256) / luma.size
    levels = np.arange(256)
    mean = float(share @ levels)
    present = share[share > 0]
    _, deviation = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))
    return {
        "brightness": mean / 255,
        "luma_p01": _percentile(share, 0.01) / 255,
        "luma_p99": _percentile(share, 0.99) / 255,
        "contrast": math.sqrt(max(float(share @ (levels - mean) ** 2), 0.0)) / 255,
        "sharpness": math.log10(1 + float(deviation[0, 0]) ** 2),
        "entropy": float(-(present @ np.log2(present))) + 0.0,
        "chroma": _percentile(_chroma_histogram(pixels), 0.99) / 255,
    }


def _chroma_histogram(pixels: Pixels) -> npt.NDArray[np.float64]:
    step = max(1, min(pixels.shape[:2]) // _CHROMA_SIDE)
    red, green, blue = cv2.split(np.ascontiguousarray(pixels[::step, ::step]))
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    counts: npt.NDArray[np.int64] = np.bincount(np.asarray(spread, dtype=np.uint8).ravel(), minlength=256)
    return counts / float(spread.size)


def _percentile(share: npt.NDArray[np.float64], part: float) -> int:
    return min(int(np.searchsorted(np.cumsum(share), part)), 255)

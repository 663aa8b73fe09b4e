"""Compare the details of two registered images, block by block and scale by scale.

The grain of a sensor, of fabric or of compression is the same in a copy and in nothing else: outline and layout, which other shots and look-alikes
share, are left out by the blur that is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from audit.images.local_features import LocalFeatures
from audit.pairs.alignment import luma
from audit.pairs.registration import LEAST_OVERLAP, Registration, covered, inverse, refine, warped

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

BANDS = ((0.5, 1.0), (0.8, 2.5), (1.6, 5.0))
"""Standard deviations, in pixels, of the two blurs whose difference is compared: the finest details, which compression removes first, to coarse ones,
which survive a strong blur."""

_BLOCKS, _BLOCK_SIDES = 5, (8, 24)
"""Blocks along the short side, as far as their sides in pixels stay within these limits."""

_LEAST_DETAIL = 1.0
"""Standard deviation of a block, in 8-bit luma, below which neither image has details there: compression noise alone reaches it."""

_BLURS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations, in pixels, of the blur that is tried on the sharper image: a blurred copy has lost details, but not gained others."""

_CELLS = 32
"""Cells along the long side in which colors are compared."""

_HOPELESS = 0.7
"""Upper quartile of the coarse blocks' correlations before refinement below which two images are not copies: refinement and fine details, most of the
cost, are skipped. Of about 930 edited copies of images of five fields that register, all but one reach 0.9."""


@dataclass(frozen=True, slots=True)
class Details:
    """How well two registered images fit."""

    blocks: npt.NDArray[np.int64]
    """``[bands]`` blocks with details in either image."""
    quartiles: Doubles
    """``[bands, 3]`` quartiles of the blocks' correlations, -1..1; NaN without blocks."""
    contradicted: float
    """Share of the blocks with coarse details in both images in which these disagree, 0..1; 1 if hardly any agree."""
    correlation: float
    """Of luma over the overlap, -1..1."""
    residual: float
    """Mean absolute difference of luma after brightness and contrast are matched, 0..1."""
    color_difference: float
    """Mean absolute difference of the cells' RGB values, 0..1."""
    local_difference: float
    """The same, in the cell where it is largest."""
    matrix: Doubles
    """``[2, 3]``: pixels of the second image, mirrored before where it is registered so -> pixels of the first one, refined."""
    blur: float
    """Standard deviation, in pixels of the coarser image, of the blur that makes the first image as soft as the second; negative for the reverse."""


def compare(first: LocalFeatures, second: LocalFeatures, registration: Registration) -> Details | None:
    """Refine a registration and compare the details; None where the images hardly overlap."""
    second = second.mirrored() if registration.mirrored else second
    scale = float(np.sqrt(abs(np.linalg.det(registration.matrix[:, :2]))))
    coarse, fine, matrix = (first, second, registration.matrix) if scale <= 1 else (second, first, inverse(registration.matrix))
    side = int(np.clip(min(coarse.gray.shape) // _BLOCKS, *_BLOCK_SIDES))
    inside = covered(fine.gray, matrix, coarse.gray)
    if inside.mean() < LEAST_OVERLAP:
        return None
    start = warped(fine.gray, matrix, coarse.gray)
    before = _band(coarse.gray.astype(np.float32), start.astype(np.float32), BANDS[2], _block_means(inside.astype(np.float32), side) >= _WHOLE, side)
    hopeless = len(before) > 0 and np.percentile(before, 75) < _HOPELESS
    if len(before) and not hopeless:
        matrix, inside = refine(coarse, fine, matrix, start, inside)
    mine, theirs = coarse.color.astype(np.float32), warped(fine.color, matrix, coarse.gray).astype(np.float32)
    lumas = luma(mine), luma(theirs)
    within = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if not within.any():
        return None
    whole = _block_means(within.astype(np.float32), side) >= _WHOLE
    one, other, blur = (*lumas, 0.0) if hopeless else _equally_sharp(*lumas, within)
    bands = [np.zeros(0, np.float32)] * len(BANDS) if hopeless else [_band(one, other, band, whole, side) for band in BANDS]
    # Means of cells, since what compression adds averages out and what an edit adds does not.
    cell = max(max(coarse.gray.shape) // _CELLS, 2)
    difference = np.mean([np.abs(_block_means(channel, cell)) for channel in cv2.split(mine - theirs)], axis=0) / 255
    compared = _block_means(within.astype(np.float32), cell) >= _WHOLE
    a, b = (image[within] - image[within].mean() for image in (one, other))
    squares, product = float(b @ b), float(a @ b)
    return Details(
        np.array([len(band) for band in bands]),
        np.array([np.percentile(band, (25, 50, 75)) if len(band) else (np.nan,) * 3 for band in bands]),
        1.0 if hopeless else _contradicted(*lumas, inside, side),
        product / max(float(np.sqrt(squares * float(a @ a))), 1.0),
        float(np.abs(a - max(product, 0.0) / max(squares, 1.0) * b).mean()) / 255,
        float(difference[compared].mean()) if compared.any() else 0.0,
        float(difference[compared].max(initial=0.0)),
        matrix if scale <= 1 else inverse(matrix),
        blur if scale <= 1 else -blur,
    )


_WHOLE = 0.9
"""Share of a block that the other image must cover."""


def _equally_sharp(one: Floats, other: Floats, within: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Blur the sharper image until its details are as strong as those of the other; also return by how much, negative if it is the other one."""
    weak, strong = _strength(one, within), _strength(other, within)
    swapped = weak > strong
    sharp, weak = (one, strong) if swapped else (other, weak)
    tried = (cv2.GaussianBlur(sharp, (0, 0), blur) if blur else sharp for blur in _BLURS)
    best, least, amount = sharp, np.inf, 0.0
    for blur, image in zip(_BLURS, tried, strict=True):  # the strength falls with the blur
        off = abs(np.log((_strength(image, within) + 0.1) / (weak + 0.1)))
        if off >= least:
            break
        best, least, amount = image, off, blur
    return (best, other, amount) if swapped else (one, best, -amount)


def _strength(image: Floats, within: npt.NDArray[np.bool_]) -> float:
    """Return the standard deviation of the fine details, relative to that of all details, so that contrast does not count."""
    fine, coarse = (cv2.GaussianBlur(image, (0, 0), low) - cv2.GaussianBlur(image, (0, 0), high) for low, high in (BANDS[1], (2.0, 8.0)))
    return float(fine[within].std() / max(coarse[within].std(), 1e-3))


def _contradicted(one: Floats, other: Floats, inside: npt.NDArray[np.bool_], side: int) -> float:
    correlations, least, _ = _correlations(one, other, BANDS[2], side)
    reach = round(4 * BANDS[2][1]) + 1  # the blur carries what surrounds a framed copy into it
    within = cv2.erode(inside.astype(np.uint8), np.ones((reach, reach), np.uint8), borderValue=1)
    there = (_block_means(within.astype(np.float32), side) >= 1) & (least >= _DISTINCT_DETAIL)
    return float(((correlations < _DISAGREES) & ~_captioned(one, other, side))[there].mean()) if there.any() else 0.0


def _captioned(one: Floats, other: Floats, side: int) -> npt.NDArray[np.bool_]:
    """Return which blocks have print in one image, and between the letters show the same in both; another subject's white parts do not."""
    extreme = [(image <= _BLACK) | (image >= _WHITE) for image in (one, other)]
    printed = (extreme[0] != extreme[1]).astype(np.uint8)
    between = 1 - cv2.dilate(printed, np.ones((5, 5), np.uint8)).astype(np.float32)
    share = np.maximum(_block_means(between, side), 1e-6)
    means = [_block_means(image * between, side) / share for image in (one, other)]
    squares = [np.maximum(_block_means(image * image * between, side) / share - mean**2, 0) for image, mean in zip((one, other), means, strict=True)]
    together = _block_means(one * other * between, side) / share - means[0] * means[1]
    same = (share < _LEAST_BETWEEN) | (together >= _SAME_GROUND * np.sqrt(squares[0] * squares[1]).clip(1))
    return np.asarray((_block_means(printed.astype(np.float32), side) >= _PRINTED) & same)


_DISTINCT_DETAIL = 3.0
"""Standard deviation of a block, in 8-bit luma, from which both images show something there."""
_BLACK, _WHITE, _PRINTED = 15, 240, 0.03
"""Luma of print, and the share of a block that has it in one image only from which a caption may cover the block."""
_SAME_GROUND, _LEAST_BETWEEN = 0.5, 0.2
"""Correlation of luma between the letters from which the block is the same, and the share of the block that must be between letters to say so."""
_DISAGREES = 0.3
"""Correlation of coarse details below which a block shows two different things."""


def _band(one: Floats, other: Floats, band: tuple[float, float], whole: npt.NDArray[np.bool_], side: int) -> Floats:
    """Return the correlations of the blocks that have details in either image."""
    correlations, _, most = _correlations(one, other, band, side)
    return correlations[whole & (most >= _LEAST_DETAIL)]


def _correlations(one: Floats, other: Floats, band: tuple[float, float], side: int) -> tuple[Floats, Floats, Floats]:
    """Return each block's correlation, and the smaller and the larger standard deviation of its details in the two images."""
    mine, theirs = (cv2.GaussianBlur(image, (0, 0), band[0]) - cv2.GaussianBlur(image, (0, 0), band[1]) for image in (one, other))
    means = [_block_means(image, side) for image in (mine, theirs)]
    squares = [np.maximum(_block_means(image * image, side) - mean * mean, 0) for image, mean in zip((mine, theirs), means, strict=True)]
    together = _block_means(mine * theirs, side) - means[0] * means[1]
    deviations = [np.sqrt(square) for square in squares]
    correlations = together / np.maximum(deviations[0] * deviations[1], 1e-6)
    return np.asarray(correlations, np.float32), np.minimum(*deviations), np.maximum(*deviations)


def _block_means(image: Floats, side: int) -> Floats:
    down, right = image.shape[0] // side, image.shape[1] // side
    return np.asarray(image[: down * side, : right * side].reshape(down, side, right, side).mean(axis=(1, 3)), np.float32)

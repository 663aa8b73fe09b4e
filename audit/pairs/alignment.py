"""Align one image with another: an initial guess from coarse descriptions, refined to an affine transformation.

A thumbnail is described by its brightness in 8 x 8 cells, for the whole and for each of 27 windows. Two images may match whole against window (one is
a crop of the other, or has a border), or window against opposite window (shifted), each mirrored or not. The few candidates that match are aligned by
maximising the enhanced correlation coefficient (Evangelidis & Psarakis 2008, "Parametric Image Alignment Using Enhanced Correlation Coefficient
Maximization", IEEE TPAMI 30(10)), which is invariant to brightness and contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from audit.tables import THUMBNAIL_SIDE

Floats = npt.NDArray[np.float32]

_CELLS = 8
_WINDOWS = ((32, (0,)), (28, (0, 2, 4)), (25, (0, 3, 7)), (20, (1, 6, 11)))
"""Side of the windows, and their offsets along each axis, in pixels of a thumbnail."""

_FIRST_ITERATIONS, _ITERATIONS, _PRECISION, _SMOOTHING = 4, 16, 1e-4, 3
_WORTH_MORE = 0.75
"""Correlation after the first iterations below which refinement stops: nine in ten candidates, which would take most of the time."""
_FITS_AT_ONCE = 0.9
"""Correlation from which the second best start is not tried."""

_SCALES, _MOST_STRETCH, _MOST_TURN = (0.4, 2.5), 1.35, 20.0
"""Scale, ratio of the scales along two axes, and rotation in degrees beyond which an alignment is rejected as chance."""

_LEAST_OVERLAP = 0.25


@dataclass(frozen=True, slots=True)
class Guess:
    """The best two starts of ``m`` pairs."""

    likeness: Floats
    """``[m]`` correlation of the descriptions at the best start, -1..1."""
    starts: npt.NDArray[np.intp]
    """``[m, 2]`` indices into ``STARTS``, the best first."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The transformation from each first image to its second one."""

    matrix: Floats
    """``[m, 2, 3]``: pixel coordinates in the first thumbnail -> in the second one, which is mirrored first if ``mirrored``."""
    mirrored: npt.NDArray[np.bool_]


def luma(pixels: npt.NDArray[np.uint8] | Floats) -> Floats:
    """Return the luma of RGB pixels, 0..255 (ITU-R BT.601)."""
    return np.asarray(pixels, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def describe(images: Floats) -> Floats:
    """Return centred unit vectors ``[n, windows, 64]`` of ``[n, s, s]`` luma; zero for flat windows."""
    cells = np.matmul(np.matmul(_REDUCE, images), _REDUCE.T)
    cells = cells.reshape(len(images), len(_PLACES), _CELLS, len(_PLACES), _CELLS)
    found = np.stack([cells[:, down, :, right] for down, right in _GRID], axis=1).reshape(len(images), len(_GRID), _CELLS * _CELLS)
    found -= found.mean(axis=2, keepdims=True)
    length = np.sqrt(np.einsum("nwc,nwc->nw", found, found))
    # A window whose cells differ by less than a gray level contains only compression noise.
    found *= np.where(length >= _CELLS, 1 / np.maximum(length, _CELLS), 0)[..., None]
    return np.asarray(found, dtype=np.float32)


def guess(first: Floats, second: Floats) -> Guess:
    """Find the best two starts from descriptions, ``[m, windows, 64]`` each."""
    likeness = np.empty((len(first), len(STARTS)), np.float32)
    at = 0
    for mirrored in (False, True):
        other = second.reshape(*second.shape[:2], _CELLS, _CELLS)[..., ::-1].reshape(second.shape) if mirrored else second
        count = len(_GRID)
        likeness[:, at : at + count] = np.matmul(first, other[:, 0, :, None])[..., 0]
        likeness[:, at + count : at + 2 * count - 1] = np.matmul(other[:, 1:], first[:, 0, :, None])[..., 0]
        likeness[:, at + 2 * count - 1 : at + len(STARTS) // 2] = np.einsum("mwc,mwc->mw", first[:, 1:10], other[:, 9:0:-1])
        at += len(STARTS) // 2
    likeness[:, 0] += _PLAIN_BONUS  # of two equal fits prefer the identity
    likeness[:, 1 : len(STARTS) // 2] += _PLAIN_BONUS / 2
    best = np.argsort(-likeness, axis=1, kind="stable")[:, :2]
    return Guess(np.take_along_axis(likeness, best[:, :1], 1)[:, 0], best)


_PLAIN_BONUS = 2e-3


def align(mine: Floats, theirs: Floats, starts: npt.NDArray[np.intp]) -> Alignment:
    """Align pairs of images.

    Args:
        mine: ``[m, s, s]`` luma of the first images.
        theirs: ``[m, s, s]`` luma of the second images.
        starts: ``[m, 2]`` as returned by ``guess``.
    """
    matrix, mirrored = np.empty((len(mine), 2, 3), np.float32), np.zeros(len(mine), bool)
    for row, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        best = -2.0
        for start in starts[row]:
            found, fit = _refine(one, np.ascontiguousarray(other[:, ::-1]) if STARTS[start].mirrored else other, STARTS[start].matrix)
            if fit > best + _PLAIN_BONUS:
                best, matrix[row], mirrored[row] = fit, found, STARTS[start].mirrored
            if best >= _FITS_AT_ONCE:
                break
    return Alignment(matrix, mirrored)


def overlap(matrix: Floats, side: int) -> npt.NDArray[np.bool_]:
    """Return bool ``[m, s, s]``: which pixels of the first image are inside the second one; ``matrix`` is ``[m, 2, 3]``."""
    down, right = np.mgrid[:side, :side].astype(np.float32)
    x, y = (matrix[:, axis, 0, None, None] * right + matrix[:, axis, 1, None, None] * down + matrix[:, axis, 2, None, None] for axis in (0, 1))
    return np.asarray((x > -0.5) & (x < side - 0.5) & (y > -0.5) & (y < side - 0.5), dtype=bool)


def backwards(transform: npt.NDArray[np.float64], mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the transformations from the second images to the first ones.

    Args:
        transform: ``[m, 2, 3]``: coordinates in the first image -> in the second one (mirrored first if ``mirrored``); 0..1 along both sides.
        mirrored: ``[m]``.

    Returns:
        ``[m, 2, 3]``: coordinates in the second image -> in the first one (mirrored first if ``mirrored``).

    Raises:
        numpy.linalg.LinAlgError: a matrix is singular.
    """
    matrix = np.zeros((len(transform), 3, 3))
    matrix[:, :2], matrix[:, 2, 2] = transform, 1
    back = np.linalg.inv(matrix)
    turn = np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]], np.float64)
    return np.asarray(np.where(mirrored[:, None, None], turn @ back @ turn, back)[:, :2], dtype=np.float64)


def _refine(one: Floats, other: Floats, start: Floats) -> tuple[Floats, float]:
    best, fit = start, _fit(one, other, start)
    for iterations in (_FIRST_ITERATIONS, _ITERATIONS):
        stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, iterations, _PRECISION)
        try:
            _, found = cv2.findTransformECC(one, other, best.copy(), cv2.MOTION_AFFINE, stop, None, _SMOOTHING)
        except cv2.error:  # no convergence, or a flat image
            break
        matrix = np.asarray(found, dtype=np.float32)
        after = _fit(one, other, matrix) if _plausible(matrix) else -1.0
        if after < fit:
            break
        best, fit = matrix, after
        if fit < _WORTH_MORE:
            break
    return best, fit


def _fit(one: Floats, other: Floats, matrix: Floats) -> float:
    """Return the correlation over the overlap; -1 if it is too small."""
    inside = overlap(matrix[None], len(one))[0]
    if inside.mean() < _LEAST_OVERLAP:
        return -1.0
    warped = cv2.warpAffine(other, matrix, one.shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    a, b = one[inside], warped[inside]
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1 else 0.0


def _plausible(matrix: Floats) -> bool:
    a, b, c, d = matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1]
    if not np.isfinite(matrix).all():
        return False
    # Singular values of a 2 x 2 matrix in closed form.
    plus, minus = np.hypot(a + d, c - b) / 2, np.hypot(a - d, c + b) / 2
    large, small = plus + minus, plus - minus
    turn = abs(np.degrees(np.arctan2(c - b, a + d)))
    return bool(_SCALES[0] < small and large < _SCALES[1] and large < _MOST_STRETCH * small and turn < _MOST_TURN)


@dataclass(frozen=True, slots=True)
class Start:
    """Initial transformation of an alignment."""

    matrix: Floats
    mirrored: bool


_PLACES = [(size, place) for size, places in _WINDOWS for place in places]
_GRID = [(down, right) for down, (size, _) in enumerate(_PLACES) for right, (other, _) in enumerate(_PLACES) if size == other]
"""The windows, as pairs of indices into ``_PLACES``: vertical and horizontal position."""


def _reduce() -> Floats:
    """Return ``[8 * places, s]``: weights that average each cell of each one-dimensional window."""
    edges = np.arange(THUMBNAIL_SIDE)
    rows = []
    for size, place in _PLACES:
        step = size / _CELLS
        for cell in range(_CELLS):
            low, high = place + cell * step, place + (cell + 1) * step
            rows.append((np.minimum(edges + 1, high) - np.maximum(edges, low)).clip(0) / step)
    return np.array(rows, np.float32)


def _starts() -> tuple[Start, ...]:
    def start(scale: float, right: float, down: float, *, mirrored: bool) -> Start:
        return Start(np.array([[scale, 0, right], [0, scale, down]], np.float32), mirrored)

    found: list[Start] = []
    windows = [(_PLACES[down][0], _PLACES[down][1], _PLACES[right][1]) for down, right in _GRID]
    for mirrored in (False, True):
        for size, down, right in windows:  # a window of the first is the whole second
            scale = THUMBNAIL_SIDE / size
            found.append(start(scale, (0.5 - right) * scale - 0.5, (0.5 - down) * scale - 0.5, mirrored=mirrored))
        for size, down, right in windows[1:]:  # the whole first is a window of the second
            scale = size / THUMBNAIL_SIDE
            found.append(start(scale, right + scale / 2 - 0.5, down + scale / 2 - 0.5, mirrored=mirrored))
        for one, other in zip(windows[1:10], windows[9:0:-1], strict=True):  # shifted
            found.append(start(1, other[2] - one[2], other[1] - one[1], mirrored=mirrored))
    return tuple(found)


_REDUCE = _reduce()
STARTS = _starts()
"""All initial transformations; the first is the identity."""

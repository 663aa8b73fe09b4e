"""Measure on aligned pixels whether two thumbnails show the same image.

Smooth images (skies, gradients) correlate regardless of content, so the correlation of details counts: what remains of the aligned images
(``audit.pairs.alignment``) after a blur is subtracted. Details are compared block by block, since one strong outline, such as a tower before the sky,
makes two different images agree as a whole, but not in every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from audit.pairs.alignment import Alignment, align, describe, guess, luma, overlap
from audit.pairs.evidence import MEASURES, Evidence, concatenated
from audit.processes import available_cpus
from audit.tables import THUMBNAIL_SIDE

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

PROMISING = 0.75
"""Correlation of the coarse descriptions below which a pair is rejected without alignment; 0.5% of the CIFAR-10 duplicates are below it."""

DETAIL_SCALE = 2.0
"""Standard deviation, in thumbnail pixels, of the blur that is subtracted to leave the details."""

BLOCKS = 4
"""Blocks along each side, in each of which the details must agree."""

LEAST_DETAIL = 2.0
"""Standard deviation of the details, in 8-bit luma, below which an image cannot be recognised: compression noise alone reaches 1."""

_CELLS = 8
"""Cells along each side for the local difference."""

_LEAST_OF_BLOCK = 0.4
"""Share of a block that must overlap for its details to count."""

_LEAST_BLOCKS = 3

_BLOCK = 256


def promising(thumbnails: npt.NDArray[np.uint8], first: Rows, second: Rows) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return which pairs to align, ``[m]``, and the starts of each, ``[m, 2]`` indices into ``audit.pairs.alignment.STARTS``.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``, may be memory-mapped.
        first: int64 ``[m]`` rows; fastest if sorted.
        second: int64 ``[m]`` rows.
    """
    kept, starts = np.zeros(len(first), bool), np.zeros((len(first), 2), np.intp)
    for block in _blocks_of(len(first)):
        rows, at = np.unique(np.concatenate([first[block], second[block]]), return_inverse=True)
        described = describe(luma(thumbnails[rows]))
        half = len(at) // 2
        found = guess(described[at[:half]], described[at[half:]])
        kept[block], starts[block] = found.likeness >= PROMISING, found.starts
    return kept, starts


def verify(thumbnails: npt.NDArray[np.uint8], first: Rows, second: Rows, starts: npt.NDArray[np.intp]) -> Evidence:
    """Align pairs of thumbnails and measure them; about 1,000 pairs per second and core.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``, may be memory-mapped.
        first: int64 ``[m]`` rows.
        second: int64 ``[m]`` rows.
        starts: ``[m, 2]`` as returned by ``promising``.
    """

    def look(block: slice) -> Evidence:
        one, other = thumbnails[first[block]], thumbnails[second[block]]
        return measure(one, other, align(luma(one), luma(other), starts[block]))

    # OpenCV releases the GIL during alignment, so threads use all cores.
    with ThreadPoolExecutor(available_cpus()) as threads:
        return concatenated(list(threads.map(look, _blocks_of(len(first)))))


def measure(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], alignment: Alignment) -> Evidence:
    """Measure aligned pairs of images; uint8 ``[m, s, s, 3]`` each."""
    side = one.shape[1]
    inside = overlap(alignment.matrix, side)
    mine, theirs = _at_one_resolution(one, other, alignment)
    weight = inside.astype(np.float32)
    pixels = np.maximum(weight.sum(axis=(1, 2)), 1)
    mine_luma, their_luma = luma(mine), luma(theirs)
    a, b = _centered(mine_luma, weight, pixels), _centered(their_luma, weight, pixels)
    squares, product = [np.einsum("mhw,mhw->m", x, x) for x in (a, b)], np.einsum("mhw,mhw->m", a, b)
    scale = np.sqrt(squares[0] * squares[1])
    correlation = np.where(scale > 1, product / np.maximum(scale, 1), 0)
    gain = np.maximum(product, 0) / np.maximum(squares[1], 1)
    residual = np.abs(a - gain[:, None, None] * b).sum(axis=(1, 2)) / pixels / 255
    details = [_details(images) for images in (mine_luma, their_luma)]
    enough = np.minimum(*(_deviation(detail, weight, pixels) for detail in details)) >= LEAST_DETAIL
    difference = np.abs(mine - theirs).mean(axis=3) * weight / 255
    cell = side // _CELLS
    cells = difference[:, : cell * _CELLS, : cell * _CELLS].reshape(len(one), _CELLS, cell, _CELLS, cell).mean(axis=(2, 4))
    return Evidence(
        correlation.astype(np.float32),
        np.where(enough, _blockwise_correlation(details[0], details[1], weight), 0).astype(np.float32),
        residual.astype(np.float32),
        (difference.sum(axis=(1, 2)) / pixels).astype(np.float32),
        cells.max(axis=(1, 2), initial=0).astype(np.float32),
        alignment.mirrored,
        _in_unit_coordinates(alignment.matrix, side),
        np.full(len(one), side, np.int16),
        np.zeros((len(one), len(MEASURES)), np.float32),
        *(np.zeros(len(one), np.float32),) * 3,
    )


def _blocks_of(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _at_one_resolution(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], alignment: Alignment) -> tuple[Floats, Floats]:
    """Return both images in the first one's frame; details finer than the other image can show are smoothed."""
    mine, theirs = one.astype(np.float32), np.empty(one.shape, np.float32)
    scales = np.sqrt(np.abs(np.linalg.det(alignment.matrix[:, :, :2])))
    for row, (scale, matrix, mirrored) in enumerate(zip(scales.tolist(), alignment.matrix, alignment.mirrored, strict=True)):
        image = np.ascontiguousarray(other[row, :, ::-1] if mirrored else other[row]).astype(np.float32)
        if scale > _SAME_SCALE:
            image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(scale**2 - 1))
        elif scale < 1 / _SAME_SCALE:
            mine[row] = cv2.GaussianBlur(mine[row], (0, 0), 0.6 * np.sqrt(scale**-2 - 1))
        cv2.warpAffine(
            image,
            matrix,
            image.shape[:2],
            dst=theirs[row],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return mine, theirs.clip(0, 255)


_SAME_SCALE = 1.05


def _centered(images: Floats, weight: Floats, pixels: Floats) -> Floats:
    mean = np.einsum("mhw,mhw->m", images, weight) / pixels
    return np.asarray((images - mean[:, None, None]) * weight, dtype=np.float32)


def _deviation(images: Floats, weight: Floats, pixels: Floats) -> Floats:
    centered = _centered(images, weight, pixels)
    return np.asarray(np.sqrt(np.einsum("mhw,mhw->m", centered, centered) / pixels), dtype=np.float32)


def _details(images: Floats) -> Floats:
    return np.asarray(images - np.matmul(np.matmul(_BLUR, images), _BLUR.T), dtype=np.float32)


_BLUR = np.asarray(
    cv2.sepFilter2D(
        np.eye(THUMBNAIL_SIDE, dtype=np.float32),
        cv2.CV_32F,
        np.ones(1, np.float32),
        cv2.getGaussianKernel(2 * round(4 * DETAIL_SCALE) + 1, DETAIL_SCALE, cv2.CV_32F),
        borderType=cv2.BORDER_REFLECT_101,
    ),
    dtype=np.float32,
)
"""Blurs along one axis when multiplied from the left."""


def _blockwise_correlation(mine: Floats, theirs: Floats, weight: Floats) -> Floats:
    """Return the mean correlation of blocks, each weighted by its share of the details in the image that has more of them there."""
    inside = _blocks(weight)
    pixels = inside.sum(axis=2)
    counts = pixels >= _LEAST_OF_BLOCK * inside.shape[2]
    pixels = np.maximum(pixels, 1)
    a, b = _blocks(mine), _blocks(theirs)
    a = (a - ((a * inside).sum(axis=2) / pixels)[..., None]) * inside
    b = (b - ((b * inside).sum(axis=2) / pixels)[..., None]) * inside
    mine_energy, their_energy = (a * a).sum(axis=2) / pixels, (b * b).sum(axis=2) / pixels
    correlation = (a * b).sum(axis=2) / pixels / np.sqrt(mine_energy * their_energy + 1)
    of_all = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = [energy / ((energy * counts).sum(axis=1, keepdims=True) / of_all + 1e-6) for energy in (mine_energy, their_energy)]
    importance = np.sqrt(np.minimum(np.maximum(*shares), 1)) * counts
    found = (correlation * importance).sum(axis=1) / np.maximum(importance.sum(axis=1), 1e-6)
    return np.asarray(np.where(counts.sum(axis=1) >= _LEAST_BLOCKS, found, 0), dtype=np.float32)


def _blocks(images: Floats) -> Floats:
    count, size = len(images), images.shape[1] // BLOCKS
    cut = images[:, : size * BLOCKS, : size * BLOCKS].reshape(count, BLOCKS, size, BLOCKS, size)
    return cut.transpose(0, 1, 3, 2, 4).reshape(count, BLOCKS * BLOCKS, size * size)


def _in_unit_coordinates(matrix: Floats, side: int) -> Floats:
    """Convert from pixel coordinates, with pixel centers at integers, to unit coordinates, with centers at (integer + 1/2) / side."""
    unit = matrix.copy()
    unit[:, :, 2] = (matrix[:, :, 2] + 0.5 - matrix[:, :, :2].sum(axis=2) / 2) / side
    return unit

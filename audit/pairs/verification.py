"""Do two thumbnails show the same picture? Aligned pixels decide, not the likeness of embeddings.

Smooth pictures (skies, gradients) correlate whatever they show, so what counts is the correlation of the details that remain when the smooth part is
taken away, where the two are aligned (``audit.pairs.alignment``). They are compared block by block: one strong outline, such as a tower against
the sky,
makes two different pictures agree as a whole, but not in the blocks that either fills with something of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from audit.pairs.alignment import Alignment, align, describe, guess, luma, overlap
from audit.processes import available_cpus
from audit.tables import THUMBNAIL_SIDE

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

PROMISING = 0.75
"""Correlation of the coarse descriptions below which a pair is not looked at closely; 0.5% of the CIFAR-10 duplicates lie below."""

DETAIL_SCALE = 2.0
"""Standard deviation, in thumbnail pixels, of the blur that is subtracted to leave the details."""

BLOCKS = 4
"""Blocks along each side, in each of which the details must agree."""

LEAST_DETAIL = 2.0
"""Standard deviation of the details, in 8-bit luma, below which a picture has nothing to recognise it by: compression noise alone reaches 1."""

_CELLS = 8
"""Cells along each side in which a local difference is looked for."""

_LEAST_OF_BLOCK = 0.4
"""Share of a block that must overlap for its details to count."""

_LEAST_BLOCKS = 3

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well ``m`` pairs fit where they are aligned."""

    correlation: Floats
    """Of luma, -1..1."""
    detail_correlation: Floats
    """Of luma without its smooth part, -1..1, mean over blocks that have detail in either; 0 where a picture has too little of it."""
    residual: Floats
    """Mean absolute difference of luma after brightness and contrast are matched, 0..1."""
    color_difference: Floats
    """Mean absolute difference of the RGB values, 0..1."""
    local_difference: Floats
    """The same, in the cell of the picture where it is largest: an overlay changes a part of a picture."""
    overlap: Floats
    """Share of the first picture that the second one covers, 0..1."""
    mirrored: npt.NDArray[np.bool_]
    transform: Floats
    """``[m, 2, 3]``: coordinates in the first picture -> in the second one (mirrored before where ``mirrored``); 0..1 along both sides."""

    def take(self, which: npt.NDArray[np.bool_] | Rows) -> Evidence:
        """Return some of the pairs."""
        return Evidence(*(getattr(self, field.name)[which] for field in fields(self)))


def concatenated(parts: list[Evidence]) -> Evidence:
    """Put evidence together, in order; no parts make empty evidence."""
    if not parts:
        none = np.zeros(0, np.float32)
        return Evidence(none, none, none, none, none, none, np.zeros(0, bool), np.zeros((0, 2, 3), np.float32))
    return Evidence(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Evidence)))


def promising(thumbnails: npt.NDArray[np.uint8], first: Rows, second: Rows) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return which pairs are worth a close look, ``[m]``, and where to start each, ``[m, 2]`` places in ``audit.pairs.alignment.STARTS``.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``, may be memory-mapped.
        first: int64 ``[m]`` rows; fastest where they are sorted.
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
    """Align pairs of thumbnails and measure how well they fit; about 1,000 pairs a second and core.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``, may be memory-mapped.
        first: int64 ``[m]`` rows.
        second: int64 ``[m]`` rows.
        starts: ``[m, 2]`` of ``promising``.
    """

    def look(block: slice) -> Evidence:
        one, other = thumbnails[first[block]], thumbnails[second[block]]
        return measure(one, other, align(luma(one), luma(other), starts[block]))

    # OpenCV lets go of the interpreter while it aligns, so threads use all cores.
    with ThreadPoolExecutor(available_cpus()) as threads:
        return concatenated(list(threads.map(look, _blocks_of(len(first)))))


def measure(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], alignment: Alignment) -> Evidence:
    """Measure how well aligned pairs of pictures fit; uint8 ``[m, s, s, 3]`` each."""
    side = one.shape[1]
    inside = overlap(alignment.matrix, side)
    mine, theirs = _at_one_resolution(one, other, alignment)
    weight = inside.astype(np.float32)
    pixels = np.maximum(weight.sum(axis=(1, 2)), 1)
    mine_luma, their_luma = _luma(mine), _luma(theirs)
    a, b = _centered(mine_luma, weight, pixels), _centered(their_luma, weight, pixels)
    squares, product = [np.einsum("mhw,mhw->m", x, x) for x in (a, b)], np.einsum("mhw,mhw->m", a, b)
    scale = np.sqrt(squares[0] * squares[1])
    correlation = np.where(scale > 1, product / np.maximum(scale, 1), 0)
    gain = np.maximum(product, 0) / np.maximum(squares[1], 1)
    residual = np.abs(a - gain[:, None, None] * b).sum(axis=(1, 2)) / pixels / 255
    details = [_details(picture) for picture in (mine_luma, their_luma)]
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
        inside.mean(axis=(1, 2)).astype(np.float32),
        alignment.mirrored,
        _in_unit_coordinates(alignment.matrix, side),
    )


def _blocks_of(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _at_one_resolution(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], alignment: Alignment) -> tuple[Floats, Floats]:
    """Return both pictures in the first one's frame; where one shows finer details than the other can, they are smoothed away."""
    mine, theirs = one.astype(np.float32), np.empty(one.shape, np.float32)
    scales = np.sqrt(np.abs(np.linalg.det(alignment.matrix[:, :, :2])))
    for row, (scale, matrix, mirrored) in enumerate(zip(scales.tolist(), alignment.matrix, alignment.mirrored, strict=True)):
        picture = np.ascontiguousarray(other[row, :, ::-1] if mirrored else other[row]).astype(np.float32)
        if scale > _SAME_SCALE:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(scale**2 - 1))
        elif scale < 1 / _SAME_SCALE:
            mine[row] = cv2.GaussianBlur(mine[row], (0, 0), 0.6 * np.sqrt(scale**-2 - 1))
        cv2.warpAffine(
            picture,
            matrix,
            picture.shape[:2],
            dst=theirs[row],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return mine, theirs.clip(0, 255)


_SAME_SCALE = 1.05


def _luma(pixels: Floats) -> Floats:
    return pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def _centered(pictures: Floats, weight: Floats, pixels: Floats) -> Floats:
    mean = np.einsum("mhw,mhw->m", pictures, weight) / pixels
    return np.asarray((pictures - mean[:, None, None]) * weight, dtype=np.float32)


def _deviation(pictures: Floats, weight: Floats, pixels: Floats) -> Floats:
    centered = _centered(pictures, weight, pixels)
    return np.asarray(np.sqrt(np.einsum("mhw,mhw->m", centered, centered) / pixels), dtype=np.float32)


def _details(pictures: Floats) -> Floats:
    return np.asarray(pictures - np.matmul(np.matmul(_BLUR, pictures), _BLUR.T), dtype=np.float32)


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
    """Return the mean correlation of blocks, each weighted by its share of the details in the picture that has more of them there."""
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


def _blocks(pictures: Floats) -> Floats:
    count, size = len(pictures), pictures.shape[1] // BLOCKS
    cut = pictures[:, : size * BLOCKS, : size * BLOCKS].reshape(count, BLOCKS, size, BLOCKS, size)
    return cut.transpose(0, 1, 3, 2, 4).reshape(count, BLOCKS * BLOCKS, size * size)


def _in_unit_coordinates(matrix: Floats, side: int) -> Floats:
    """Pixel centers lie at whole numbers in pixel coordinates, and at (number + 1/2) / side in unit coordinates."""
    unit = matrix.copy()
    unit[:, :, 2] = (matrix[:, :, 2] + 0.5 - matrix[:, :, :2].sum(axis=2) / 2) / side
    return unit

"""Do two thumbnails show the same picture? Aligned pixels decide, not the likeness of embeddings.

Two pictures are slid over each other by a few pixels, mirrored and not, and compared by normalised correlation (Lewis 1995, "Fast Normalized
Cross-Correlation").
Smooth pictures (skies, gradients) correlate whatever they show, so what counts is the correlation of the details that remain when the smooth part is
taken
away, at the place where the whole fits best. They are compared block by block: one strong outline, such as a tower against the sky, makes two
different pictures agree as a whole, but not in the blocks that either fills with something of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SHIFT = 4
"""Pixels of the thumbnail by which two pictures may be displaced."""

DETAIL_SCALE = 2.0
"""Standard deviation, in thumbnail pixels, of the blur that is subtracted to leave the details."""

BLOCKS = 4
"""Blocks along each side, in each of which the details must agree."""

LEAST_DETAIL = 2.0
"""Standard deviation of the details, in 8-bit luma, below which a picture has nothing to recognise it by: compression noise alone reaches 1."""

PROMISING = 0.6
"""Correlation of quarter-size luma below which a pair is not looked at closely; 1% of the judged CIFAR-10 duplicates lie below."""

_COARSE_SHIFT = 1
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well ``m`` pairs fit, at the displacement where each fits best."""

    correlation: Floats
    """Of luma, -1..1."""
    detail_correlation: Floats
    """Of luma without its smooth part, -1..1, mean over blocks that have detail in either; 0 where a picture has too little of it."""
    color_difference: Floats
    """Mean absolute difference of the aligned RGB values, 0..1."""
    mirrored: npt.NDArray[np.bool_]
    shift: npt.NDArray[np.int8]
    """``[m, 2]`` displacement in thumbnail pixels, down and right."""


def promising(thumbnails: npt.NDArray[np.uint8], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which pairs are worth a close look; about 100,000 pairs a second and core."""
    kept = np.zeros(len(first), bool)
    for start in range(0, len(first), _BLOCK * 4):
        block = slice(start, start + _BLOCK * 4)
        small = _halved(luma(thumbnails[first[block]])), _halved(luma(thumbnails[second[block]]))
        best, _ = _align(*small, _COARSE_SHIFT)
        kept[block] = best >= PROMISING
    return kept


def verify(thumbnails: npt.NDArray[np.uint8], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Evidence:
    """Measure how well pairs of thumbnails fit.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``, may be memory-mapped.
        first: int64 ``[m]`` rows.
        second: int64 ``[m]`` rows.
    """
    parts = [_verify(thumbnails[first[at : at + _BLOCK]], thumbnails[second[at : at + _BLOCK]]) for at in range(0, len(first), _BLOCK)]
    if not parts:
        none = np.zeros(0, np.float32)
        return Evidence(none, none, none, np.zeros(0, bool), np.zeros((0, 2), np.int8))
    return Evidence(
        np.concatenate([part.correlation for part in parts]),
        np.concatenate([part.detail_correlation for part in parts]),
        np.concatenate([part.color_difference for part in parts]),
        np.concatenate([part.mirrored for part in parts]),
        np.concatenate([part.shift for part in parts]),
    )


def luma(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return the luma of RGB pixels, 0..255 (ITU-R BT.601)."""
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _verify(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> Evidence:
    side = one.shape[1]
    mine, theirs = luma(one), luma(other)
    correlation, place = _align(mine, theirs, SHIFT)
    mirrored, shift = _displacement(place, SHIFT)
    mine_detail, their_detail = _details(mine), _details(theirs)
    enough = np.minimum(mine_detail.std(axis=(1, 2)), their_detail.std(axis=(1, 2))) >= LEAST_DETAIL
    detail, difference = np.zeros(len(one), np.float32), np.zeros(len(one), np.float32)
    for at in np.unique(place):
        pairs = np.flatnonzero(place == at)
        flip, (down, right) = bool(mirrored[pairs[0]]), shift[pairs[0]]
        (mine_y, their_y), (mine_x, their_x) = _overlap(int(down), side), _overlap(int(right), side)
        turned = slice(None, None, -1) if flip else slice(None)
        detail[pairs] = _blockwise_correlation(mine_detail[pairs][:, mine_y, mine_x], their_detail[pairs][:, :, turned][:, their_y, their_x])
        overlapping = one[pairs][:, mine_y, mine_x].astype(np.int16) - other[pairs][:, :, turned][:, their_y, their_x]
        difference[pairs] = np.abs(overlapping).mean(axis=(1, 2, 3)) / 255
    return Evidence(correlation, np.where(enough, detail, 0).astype(np.float32), difference, mirrored, shift)


def _align(mine: Floats, theirs: Floats, reach: int) -> tuple[Floats, npt.NDArray[np.int16]]:
    """Return the best correlation over displacements and mirroring, and which of them it was."""
    best = np.full(len(mine), -1, np.float32)
    place = np.zeros(len(mine), np.int16)
    side = mine.shape[1]
    steps = range(-reach, reach + 1)
    for flip in (0, 1):
        turned = theirs[:, :, ::-1] if flip else theirs
        for number, (down, right) in enumerate((down, right) for down in steps for right in steps):
            (mine_y, their_y), (mine_x, their_x) = _overlap(down, side), _overlap(right, side)
            found = _correlation(mine[:, mine_y, mine_x], turned[:, their_y, their_x])
            # An even fit goes to the smaller displacement, which comes with its own number: ties must not depend on anything else.
            better = found > best + 1e-6
            best[better] = found[better]
            place[better] = flip * len(steps) ** 2 + number
    return best, place


def _displacement(place: npt.NDArray[np.int16], reach: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int8]]:
    steps = 2 * reach + 1
    number = place % steps**2
    return place >= steps**2, np.stack([number // steps - reach, number % steps - reach], axis=1).astype(np.int8)


def _correlation(mine: Floats, theirs: Floats) -> Floats:
    a = mine - mine.mean(axis=(1, 2), keepdims=True)
    b = theirs - theirs.mean(axis=(1, 2), keepdims=True)
    product = np.einsum("mhw,mhw->m", a, b)
    scale = np.sqrt(np.einsum("mhw,mhw->m", a, a) * np.einsum("mhw,mhw->m", b, b))
    return np.asarray(np.where(scale > 1e-3, product / np.maximum(scale, 1e-3), 0), dtype=np.float32)


def _blockwise_correlation(mine: Floats, theirs: Floats) -> Floats:
    """Return the mean correlation of blocks, each weighted by its share of the details in the picture that has more of them there."""
    a, b = _blocks(mine), _blocks(theirs)
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    mine_energy, their_energy = (a * a).mean(axis=2), (b * b).mean(axis=2)
    correlation = (a * b).mean(axis=2) / np.sqrt(mine_energy * their_energy + 1)
    shares = [energy / (energy.mean(axis=1, keepdims=True) + 1e-6) for energy in (mine_energy, their_energy)]
    weight = np.sqrt(np.minimum(np.maximum(*shares), 1))
    return np.asarray((correlation * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6), dtype=np.float32)


def _blocks(pictures: Floats) -> Floats:
    count = len(pictures)
    height, width = (size // BLOCKS for size in pictures.shape[1:])
    cut = pictures[:, : height * BLOCKS, : width * BLOCKS].reshape(count, BLOCKS, height, BLOCKS, width)
    return cut.transpose(0, 1, 3, 2, 4).reshape(count, BLOCKS * BLOCKS, height * width)


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    return slice(max(0, shift), side + min(0, shift)), slice(max(0, -shift), side + min(0, -shift))


def _details(pictures: Floats) -> Floats:
    return np.stack([picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_SCALE) for picture in pictures])


def _halved(pictures: Floats) -> Floats:
    count, side, _ = pictures.shape
    return np.asarray(pictures.reshape(count, side // 2, 2, side // 2, 2).mean(axis=(2, 4)), dtype=np.float32)

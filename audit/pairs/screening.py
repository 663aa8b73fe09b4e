"""Screen candidate pairs by their stored local features: how many spots of two images look alike and agree on how one image is placed in the other.

Features vote for a rotation, a scale and a translation (weak geometric consistency: Jegou, Douze & Schmid 2008, "Hamming Embedding and Weak Geometric
Consistency for Large Scale Image Search", ECCV). Any rotation, a mirror, scales down to a third and crops leave enough of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.images.local_features import MIRROR_BITS
from audit.processes import available_cpus

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

FARTHEST = 24
"""Differing bits, of 128, from which two spots do not look alike."""
_COMMON = 0.1
"""Weight of two spots that are no more alike than others of the dataset, relative to distinctive ones."""
_TURN = 8
"""Difference of two rotations that agree, of 256 to a full turn."""
_SCALE = 6
"""Difference of two scales that agree, in sixteenths of an octave."""
_SHIFT = 12
"""Difference of two positions that agree, of 255 to the long side."""
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Votes:
    """Agreement of ``m`` pairs."""

    count: Floats
    """``[m]`` spots that agree, each weighted by how alike they are, 0..1."""
    distinctive: Floats
    """``[m]`` the same, weighted by how much more alike they are than other spots of the dataset."""
    mirrored: npt.NDArray[np.bool_]
    """``[m]`` whether they agree on the mirrored second image."""


def votes(features: Bytes, widths: Floats, limits: Bytes, first: Rows, second: Rows) -> Votes:
    """Return the agreement of each pair; about 15,000 pairs a second and core.

    Args:
        features: uint8 ``[n, FEATURES, FEATURE_BYTES]``, may be memory-mapped.
        widths: ``[n]`` width of each image, 255 = its long side.
        limits: uint8 ``[n, FEATURES]`` differing bits from which another spot is not especially like this one, at most ``FARTHEST``.
        first: int64 ``[m]`` rows.
        second: int64 ``[m]`` rows.
    """

    def count(start: int) -> Votes:
        one, other = first[start : start + _BLOCK], second[start : start + _BLOCK]
        return _votes(features[one], features[other], limits[one], limits[other], widths[other])

    with ThreadPoolExecutor(available_cpus()) as threads:  # NumPy releases the GIL
        parts = list(threads.map(count, range(0, len(first), _BLOCK)))
    if not parts:
        return Votes(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, bool))
    return Votes(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("count", "distinctive", "mirrored")))


def _votes(one: Bytes, other: Bytes, limits: Bytes, other_limits: Bytes, widths: Floats) -> Votes:
    mask = MIRROR_BITS.view(np.uint64)
    mine, theirs = _codes(one), _codes(other)
    upright, distinctive = _agreeing(mine, theirs, one, other, limits, other_limits, None)
    mirrored, distinctive_mirrored = _agreeing(mine, theirs ^ mask, one, other, limits, other_limits, widths)
    return Votes(np.maximum(upright, mirrored), np.where(mirrored > upright, distinctive_mirrored, distinctive), mirrored > upright)


def _codes(features: Bytes) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(features[:, :, :16]).view(np.uint64)


def _agreeing(
    mine: npt.NDArray[np.uint64], theirs: npt.NDArray[np.uint64], one: Bytes, other: Bytes, limits: Bytes, other_limits: Bytes, widths: Floats | None
) -> tuple[Floats, Floats]:
    """Return ``[m]`` weighted spots that agree, by likeness and by distinctiveness; with ``widths``, of the mirrored second images."""
    apart = np.bitwise_count(mine[:, :, None, 0] ^ theirs[:, None, :, 0]) + np.bitwise_count(mine[:, :, None, 1] ^ theirs[:, None, :, 1])
    apart[one[:, :, 19] == 0] = 255
    apart.transpose(0, 2, 1)[other[:, :, 19] == 0] = 255
    nearest = apart.argmin(axis=2)
    back = np.take_along_axis(apart.argmin(axis=1), nearest, 1)
    least = np.take_along_axis(apart, nearest[..., None], 2)[..., 0].astype(np.float32)
    weight = np.where((back == np.arange(one.shape[1])) & (least < FARTHEST), 1 - least / FARTHEST, 0).astype(np.float32)
    limit = np.minimum(limits, np.take_along_axis(other_limits, nearest, 1)).clip(1)
    found, distinctive = np.zeros(len(one), np.float32), np.zeros(len(one), np.float32)
    worth = np.flatnonzero((weight > 0).sum(axis=1) >= 2)
    if not len(worth):
        return found, distinctive
    weight = weight[worth]
    rare = np.where(weight > 0, np.maximum(1 - least[worth] / limit[worth], _COMMON * weight), 0).astype(np.float32)
    matched = np.take_along_axis(other[worth], nearest[worth][..., None], 1)
    placed, at = one[worth].astype(np.int16), matched.astype(np.int16)
    if widths is not None:
        at[:, :, 16] = np.round(widths[worth]).astype(np.int16)[:, None] - at[:, :, 16]
        at[:, :, 18] = (128 - at[:, :, 18]) % 256
    # Matches first: most of the spots have none, and their agreement costs the most.
    order = np.argsort(-weight, axis=1, kind="stable")[:, : int((weight > 0).sum(axis=1).max())]
    weight, rare = np.take_along_axis(weight, order, 1), np.take_along_axis(rare, order, 1)
    turn, scale = (np.take_along_axis(at[:, :, column] - placed[:, :, column], order, 1) for column in (18, 19))
    agree = np.abs((turn[:, :, None] - turn[:, None, :] + 128) % 256 - 128) <= _TURN
    agree &= np.abs(scale[:, :, None] - scale[:, None, :]) <= _SCALE
    best = np.einsum("mij,mj->mi", agree, weight).argmax(axis=1)[:, None]
    weight = np.where(np.take_along_axis(agree, best[:, :, None], 1)[:, 0], weight, 0)
    angle = np.take_along_axis(turn, best, 1) * (2 * np.pi / 256)
    factor = 2 ** (np.take_along_axis(scale, best, 1) / 16)
    x, y, to_x, to_y = (np.take_along_axis(places[:, :, column], order, 1) for places in (placed, at) for column in (16, 17))
    shift_x = to_x - factor * (np.cos(angle) * x - np.sin(angle) * y)
    shift_y = to_y - factor * (np.sin(angle) * x + np.cos(angle) * y)
    apart_by = np.maximum(*(np.abs(shift[:, :, None] - shift[:, None]) for shift in (shift_x, shift_y)))
    near = apart_by <= _SHIFT * np.maximum(factor, 1)[..., None]
    near &= (weight > 0)[:, :, None] & (weight > 0)[:, None]
    counts = np.einsum("mij,mj->mi", near, weight)
    best = counts.argmax(axis=1)[:, None, None]
    found[worth] = counts.max(axis=1, initial=0)
    distinctive[worth] = (np.take_along_axis(near, best, 1)[:, 0] * rare).sum(axis=1)
    return found, distinctive

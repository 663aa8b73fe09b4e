"""Find the images that share local features, among all images: an image inside another, or a small crop, resembles no image as a whole.

An inverted file of binary codes (Jegou, Douze & Schmid 2008, "Hamming Embedding and Weak Geometric Consistency for Large Scale Image Search", ECCV).
A spot that many images have, such as a button or a rib, counts less: how alike two spots are is relative to the 16th nearest spot (as the ratio of
Lowe 2004, section 7.1). Spots vote for an image and a rotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from audit.images.local_features import MIRROR_BITS
from audit.pairs.candidates import BLOCK, Candidates
from audit.pairs.screening import FARTHEST
from audit.tables import FEATURES

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_NEAREST = 16
"""Spots of the dataset that are found for each spot."""
_PROPOSED = 8
"""Images that are proposed for each image."""
_STEP = 16
"""Steps of rotation, of 256 to a full turn, in which votes are counted; two neighboring steps are counted together."""

_EXACT_UP_TO = 8192
"""Spots up to which all are compared with all."""
_MOST_PROBES = 8
"""Lists of the inverted file that are searched for a spot."""
_MOST_COMPARISONS = 2**21
"""Codes that are compared for each image, about 5 ms of one core: above about 100,000 images, fewer lists are searched."""

_BLOCK = 2048
"""Images searched at a time."""
_CODE, _ANGLE, _SIZE = slice(0, 16), 18, 19
"""Bytes of a stored feature."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the features of ``n`` images have in common."""

    first: Rows
    """Proposed pairs, ``first`` < ``second``, sorted and distinct."""
    second: Rows
    limits: Bytes
    """``[n, FEATURES]`` differing bits from which another spot is not especially like this one: those of its 16th nearest, at most ``FARTHEST``."""
    usual: Floats
    """``[n]`` weighted spots that an image shares with the last of the images proposed for it: how much it shares with mere look-alikes."""

    def blocks(self) -> Iterator[Candidates]:
        """Yield the proposed pairs."""
        for start in range(0, len(self.first), BLOCK):
            first, second = (side[start : start + BLOCK] for side in (self.first, self.second))
            yield Candidates(first, second, np.full(len(first), np.nan, np.float32), 0)


def shared_features(features: Bytes, rows: Rows) -> Shared:
    """Propose pairs of images that share local features, in any orientation.

    The time for each image is limited; the memory is 1.7 kB for each image.

    Args:
        features: uint8 ``[n, FEATURES, FEATURE_BYTES]``, may be memory-mapped.
        rows: the images to search and to find, sorted.
    """
    limits, usual = np.full(features.shape[:2], FARTHEST, np.uint8), np.zeros(len(features), np.float32)
    pairs = [np.zeros((0, 2), np.int64)]
    index, angles = _index(features, rows), np.asarray(features[:, :, _ANGLE]).ravel()
    for block in _blocks(rows):
        codes, spots = _spots(features, block)
        if not len(spots):
            continue
        upright = index.search(codes, _NEAREST + 1)  # a spot is its own nearest
        limit = limits.reshape(-1)[spots] = np.minimum(upright[0][:, -1], FARTHEST).astype(np.uint8)
        votes = [_votes(spots, upright, limit, angles, mirrored=False)]
        votes.append(_votes(spots, index.search(codes ^ MIRROR_BITS, _NEAREST), limit, angles, mirrored=True))
        one, other, weight = _by_pair(_Votes(*(np.concatenate(parts) for parts in zip(*votes, strict=True))), len(features))
        order = np.lexsort((other, -weight, one))
        one, other, weight = one[order], other[order], weight[order]
        place = np.arange(len(one)) - np.searchsorted(one, one)
        usual[one[place == _PROPOSED - 1]] = weight[place == _PROPOSED - 1]
        pairs.append(np.sort(np.stack([one, other], axis=1)[place < _PROPOSED], axis=1))
    distinct = np.unique(np.concatenate(pairs), axis=0)
    return Shared(distinct[:, 0], distinct[:, 1], limits, usual)


class _Votes(NamedTuple):
    """Matches of spots: ``[m]`` each."""

    one: Rows
    other: Rows
    """The images."""
    orientation: Rows
    """The rotation in steps, twice; plus one if the other image is mirrored."""
    weight: npt.NDArray[np.float64]
    """How much more alike the spots are than others, 0..1."""


def _votes(spots: Rows, found: tuple[npt.NDArray[np.int32], Rows], limits: Bytes, angles: Bytes, *, mirrored: bool) -> _Votes:
    apart, near = found
    limit = np.minimum(limits, apart[:, -1])[:, None]  # which of equally distant spots are found depends on the order of the rows
    at, column = np.nonzero((near >= 0) & (apart < limit) & (near // FEATURES != spots[:, None] // FEATURES))
    mine, theirs = spots[at], near[at, column]
    turn = (128 - angles[theirs].astype(np.int64) if mirrored else angles[theirs].astype(np.int64)) - angles[mine]
    weight = 1 - apart[at, column] / limit[at, 0].astype(np.float64)
    return _Votes(mine // FEATURES, theirs // FEATURES, turn % 256 // _STEP * 2 + mirrored, weight)


def _by_pair(votes: _Votes, images: int) -> tuple[Rows, Rows, npt.NDArray[np.float64]]:
    """Return each pair of images once, with the sum of the weights in its best orientation."""
    steps = 2 * (256 // _STEP)
    pairs = (votes.one * images + votes.other) * steps
    keys = np.concatenate([pairs + turn for turn in (votes.orientation, (votes.orientation + 2) % steps)])
    found, at = np.unique(keys, return_inverse=True)
    sums = np.bincount(at, np.concatenate([votes.weight, votes.weight]), len(found)).astype(np.float64)
    distinct, starts = np.unique(found // steps, return_index=True)
    return distinct // images, distinct % images, np.maximum.reduceat(sums, starts) if len(distinct) else sums


def _index(features: Bytes, rows: Rows) -> Any:
    """Return the inverted file of all spots; a spot's id is its place in the flat table of features."""
    count = sum(len(_spots(features, block)[1]) for block in _blocks(rows))
    lists = 1 if count <= _EXACT_UP_TO else 2 ** round(np.log2(1.5 * np.sqrt(count)))
    centers = _centers(features, rows, lists)
    quantizer = faiss.IndexBinaryFlat(128)
    index: Any = faiss.IndexBinaryIVF(quantizer, 128, max(len(centers), 1))
    index.quantizer_of_this = quantizer  # keep it as long as the index, which does not own it
    quantizer.add(centers if len(centers) else np.zeros((1, 16), np.uint8))
    index.is_trained = True
    spare = _MOST_COMPARISONS // (2 * FEATURES) - index.nlist
    index.nprobe = int(np.clip(spare * index.nlist // max(count, 1), 1, min(_MOST_PROBES, index.nlist)))
    for block in _blocks(rows):
        codes, spots = _spots(features, block)
        if len(spots):
            index.add_with_ids(codes, spots)
    return index


def _centers(features: Bytes, rows: Rows, count: int) -> Bytes:
    """Return distinct codes drawn by their content, so that they do not depend on the order of the rows."""
    drawn = np.zeros((0, 16), np.uint8)
    for block in _blocks(rows):
        codes = np.concatenate([drawn, _spots(features, block)[0]])
        halves = codes.view(np.uint64)
        with np.errstate(over="ignore"):
            keys = (halves[:, 0] * _MIX ^ halves[:, 1]) * _MIX
        drawn = codes[np.unique(keys, return_index=True)[1][:count]]
    return np.ascontiguousarray(drawn)


_MIX = np.uint64(0x9E3779B97F4A7C15)


def _spots(features: Bytes, block: Rows) -> tuple[Bytes, Rows]:
    """Return the codes of the images' features, ``[m, 16]``, and their places in the flat table of features, ``[m]``."""
    stored = np.asarray(features[block])
    image, slot = np.nonzero(stored[:, :, _SIZE])
    return np.ascontiguousarray(stored[image, slot, _CODE]), block[image] * FEATURES + slot


def _blocks(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))

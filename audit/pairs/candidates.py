"""Propose candidate pairs: near neighbors, and perceptual hashes within an exact Hamming radius. In blocks of rows, never n x n."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

BLOCK = 8192
"""Rows per block of candidates."""

_ASKED_AT_ONCE = 256
"""Rows per range search: each member of a crowd lists the whole crowd, which may have any size."""
_BRUTE_FORCE_UP_TO = 150_000
_TABLES, _BITS, _FLIPS = 4, 16, 1
"""A hash of 64 bits in 4 parts: if at most 7 bits differ, at most one differs in some part, so looking up every part with one bit flipped finds all
hashes within a radius of 7."""

_CROWD = 50
"""If both hashes of a pair have more near hashes than this, the hash cannot distinguish these images (blank, one logo), and only neighbors propose
pairs. If only one has, the pair may be a copy; each row then proposes at most this many pairs. Of 12,000, 25,000 and 110,000 real images none has
more than 16 near hashes."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct pairs of rows, ``first`` < ``second``."""

    first: Rows
    second: Rows
    cosine: Floats
    """NaN if only the hashes proposed the pair."""
    rows: int
    """Number of rows of the dataset in this block."""


def candidates(
    neighbors: npt.NDArray[np.int32],
    similarities: Floats,
    hashes: Sequence[npt.NDArray[np.uint64]],
    usable: npt.NDArray[np.bool_],
    leaders: Rows,
    radius: int,
) -> Iterator[Candidates]:
    """Propose pairs, block by block; a pair may occur in two blocks.

    Args:
        neighbors: int32 ``[n, k]`` rows; -1 = none.
        similarities: float32 ``[n, k]`` cosines.
        hashes: uint64 ``[n]`` perceptual hashes, of one or several kinds.
        usable: ``[n]`` rows with a hash.
        leaders: ``[n]`` the representative of each row: identical copies are compared once.
        radius: bits by which hashes may differ, at most 7.
    """
    own = np.flatnonzero(usable & (leaders == np.arange(len(leaders))))
    kinds = [kind[own].view(np.uint8).reshape(-1, 8) for kind in hashes]
    indices, counts = [_index(codes) for codes in kinds], [np.zeros(len(own), np.int32) for _ in kinds]
    for start in range(0, len(neighbors), BLOCK):
        stop = min(start + BLOCK, len(neighbors))
        near = _near(neighbors, similarities, leaders, start, stop)
        low, high = np.searchsorted(own, [start, stop])
        alike = [_alike(index, codes, own, int(low), int(high), radius, count) for index, codes, count in zip(indices, kinds, counts, strict=True)]
        first, second = (np.concatenate([near[side], *(found[side] for found in alike)]) for side in (0, 1))
        yield _distinct(first, second, np.concatenate([near[2], np.full(len(first) - len(near[0]), np.nan, np.float32)]), stop - start)


def _near(neighbors: npt.NDArray[np.int32], similarities: Floats, leaders: Rows, start: int, stop: int) -> tuple[Rows, Rows, Floats]:
    near = np.asarray(neighbors[start:stop])
    one, other = np.repeat(np.arange(start, stop), near.shape[1]), near.ravel().astype(np.int64)
    # If two rows are each other's neighbors, the lower one proposes the pair.
    lower = (other >= 0) & (other < one)
    twice = np.zeros(len(one), bool)
    twice[lower] = (neighbors[other[lower]] == one[lower, None]).any(axis=1)
    kept = (other >= 0) & ~twice
    return leaders[one[kept]], leaders[other[kept]], np.asarray(similarities[start:stop]).ravel()[kept]


def _index(codes: npt.NDArray[np.uint8]) -> Any:
    index: Any = faiss.IndexBinaryFlat(64) if len(codes) <= _BRUTE_FORCE_UP_TO else faiss.IndexBinaryMultiHash(64, _TABLES, _BITS)
    if len(codes) > _BRUTE_FORCE_UP_TO:
        index.nflip = _FLIPS
    if len(codes):
        index.add(codes)
    return index


def _alike(index: Any, codes: npt.NDArray[np.uint8], own: Rows, low: int, high: int, radius: int, counts: npt.NDArray[np.int32]) -> tuple[Rows, Rows]:
    """Return the pairs of some rows with near hashes, and write the number of near hashes of each row to ``counts``; called in row order."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(low, high, _ASKED_AT_ONCE):
        stop = min(start + _ASKED_AT_ONCE, high)
        limits, _, at = index.range_search(codes[start:stop], radius + 1)
        counts[start:stop] = np.diff(limits.astype(np.int64))
        one = np.repeat(np.arange(start, stop), counts[start:stop])
        # The first row of a pair proposes it; if that row is in a crowd, the second does.
        kept = (counts[one] <= _CROWD) & ((at > one) | ((at < one) & (counts[at] > _CROWD)))
        found.append((own[one[kept]], own[at[kept]]))
    first, second = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _distinct(one: Rows, other: Rows, cosine: Floats, rows: int) -> Candidates:
    first, second = np.minimum(one, other), np.maximum(one, other)
    apart = first != second
    first, second, cosine = first[apart], second[apart], cosine[apart]
    kept = distinct(first, second, cosine)
    return Candidates(first[kept], second[kept], cosine[kept], rows)


def distinct(first: Rows, second: Rows, cosine: Floats) -> Rows:
    """Return indices of distinct pairs in the order of their rows; of equal pairs, one with a cosine."""
    order = np.lexsort((cosine, second, first))  # NaN sorts last
    fresh = np.ones(len(order), bool)
    one, other = first[order], second[order]
    fresh[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    return order[fresh]

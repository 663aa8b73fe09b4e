"""Search nearest neighbors by cosine with FAISS: exact while that is affordable, else approximate with an exact re-rank and a measured recall.

The kept similarities are recomputed pair by pair, in one fixed order of additions, and equal ones are ranked by row. A matrix product only proposes
candidates, and the exact search asks for more of them until rounding can no longer hide a neighbor. So the result does not depend on the order of
rows, on block sizes, on shards or on the processor's matrix kernels, and an incremental search equals a full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd
import xxhash

from audit.neighbors.backends import BASE_BLOCK, PROCESSORS, Backend, Floats, Halves, Rows, floats

EXACT_UP_TO = 50_000
"""Rows up to which every pair is compared: at 2,560 dimensions about four minutes on two cores, growing with the square."""

GPU_FROM = 10_000
"""Rows from which an available GPU is used: fewer take seconds on the CPU, as long as starting on a GPU."""

GPU_UP_TO = 4e17
"""Operations (two per pair and dimension) up to which a GPU compares every pair, even if its memory holds only a part of the rows: 20 million rows of
512. That takes half an hour at 200 TFLOP/s and six hours at 20; beyond it the approximate search on the CPU is faster. A count and not a clock, so
that the same rows have the same neighbors on the same kind of machine."""

SPARE = 6
"""Neighbors stored beyond the requested ones, so that a row that loses a few in a later version of the dataset need not be searched again."""

_QUERY_BLOCK, _RERANK_BLOCK = 4096, 128
_GPU_BLOCKS = 16
_GPU_BLOCK = 65_536, 2**20
"""Queries per GPU task, least and most: a sixteenth of all, so that all GPUs have work, but enough to pay for sending the rows, and few enough for
their results (2 GB) to fit in memory."""
_PROJECTED = 192
_LISTS_PROBED = 64
_TRAINED_ON = 100_000
_RECALL_SAMPLE = 500
_EXTRA = 6
"""Candidates beyond the stored neighbors: usually enough to prove that rounding hid no neighbor; other rows are searched again for more."""
_SEARCH_ALL_FROM = 0.3
"""Share of rows to search from which an update costs as much as a full exact search."""
_UPDATED_UP_TO = 20
"""Multiples of the square root of all rows up to which an update compares changed rows with every row; beyond, a full approximate search is cheaper.
Its probed lists grow with that root. Measured break-even: 26 at 110,000 x 1280 and 22 at 1,281,167 x 512. The same limit holds with a GPU, because
the CPU compares changed rows."""


@dataclass(frozen=True, slots=True)
class Known:
    """Every row's nearest rows, with some to spare. All rows nearer than the last one stored are stored."""

    indices: npt.NDArray[np.int32]
    """``[n, k + SPARE]``; -1 = fewer neighbors are known."""
    similarities: Floats
    complete: bool
    """Whether every row stores all other rows."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Every row's nearest other rows."""

    indices: npt.NDArray[np.int32]
    """``[n, k]`` rows, nearest first; -1 = none."""
    similarities: Floats
    """``[n, k]`` cosines, NaN where there is no neighbor."""
    method: str
    recall: float | None
    """Share of true neighbors found, measured on a sample; None where the search was exact."""
    known: Known
    """Input of a later, incremental search."""


@dataclass(frozen=True, slots=True)
class PreviousNeighbors:
    """The result of an earlier search, and the new position of its rows."""

    known: Known
    exact: bool
    """Whether it and all results that it was updated from are exact."""
    old_row_of_new: Rows
    """``[n]``: the old row of each row; -1 = new."""


Found = tuple[npt.NDArray[np.int32], Floats]
"""A block's nearest rows ``[m, width]`` and their cosines; -1 and NaN = none."""


class BlockSearch(Protocol):
    """Finds the nearest rows of a block of rows. Picklable, since blocks may be searched in other processes or on other machines."""

    @property
    def on_gpu(self) -> bool:
        """Whether it needs a GPU where it is called."""
        ...

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """Search the neighbors of some rows. Reads the embeddings only as ``embeddings[rows]`` and ``embeddings.shape``."""
        ...


Spread = Callable[[BlockSearch, Halves, list[Rows]], Iterator[tuple[Rows, Found]]]
"""Searches blocks, in this process or elsewhere: takes the search, the embeddings and the blocks; yields each block with its result, in any order."""


def here(work: BlockSearch, embeddings: Halves, blocks: list[Rows]) -> Iterator[tuple[Rows, Found]]:
    """Search the blocks one after the other in this process."""
    return ((rows, work(embeddings, rows)) for rows in blocks)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The distinct vectors of some rows; rows with identical vectors are searched once and all found."""

    first: Rows
    """``[u]`` rows, rising: the first of each distinct vector."""
    starts: Rows
    """``[u + 1]``: ``members[starts[v]:starts[v + 1]]`` are the rows of vector ``v``, rising."""
    members: Rows

    @classmethod
    def of(cls, embeddings: Halves, rows: Rows) -> Vectors:
        """Group rows (rising) by their vectors' bytes."""
        digests = np.empty(len(rows), "S16")
        for start in range(0, len(rows), BASE_BLOCK):
            block = np.ascontiguousarray(embeddings[rows[start : start + BASE_BLOCK]])
            digests[start : start + len(block)] = [xxhash.xxh3_128_digest(vector) for vector in block]
        codes, _ = pd.factorize(digests)
        order = np.argsort(codes, kind="stable")
        starts = np.append(np.flatnonzero(np.diff(codes[order], prepend=-1)), len(rows)).astype(np.int64)
        return cls(rows[order[starts[:-1]]], starts, rows[order])

    def expand(self, at: Rows, most: int) -> tuple[Rows, Rows]:
        """Replace vectors by their rows.

        Args:
            at: ``[m, c]`` vectors; -1 for none.
            most: rows to take of each vector, the first ones.

        Returns:
            ``[m, w]`` rows, and for each the column of ``at`` it came from; -1 for none.
        """
        counts = np.where(at >= 0, np.minimum(self.starts[at + 1] - self.starts[at], most), 0)
        width = int(counts.sum(axis=1).max(initial=0))
        rows, columns = np.full((len(at), width), -1, np.int64), np.full((len(at), width), -1, np.int64)
        query, column = np.nonzero(counts)
        repeats = counts[query, column]
        offset = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        query, column = np.repeat(query, repeats), np.repeat(column, repeats)
        place = np.arange(len(query)) - np.searchsorted(query, query)
        rows[query, place] = self.members[self.starts[at[query, column]] + offset]
        columns[query, place] = column
        return rows, columns


@dataclass(frozen=True, slots=True)
class Exact:
    """Compares each row with every distinct vector."""

    base: Vectors
    width: int
    backend: Backend = PROCESSORS

    @property
    def on_gpu(self) -> bool:
        """See `BlockSearch`."""
        return self.backend.on_gpu

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """See `BlockSearch`."""
        indices = np.full((len(rows), self.width), -1, np.int32)
        similarities = np.full((len(rows), self.width), np.nan, np.float32)
        open_rows, count, rounding = np.arange(len(rows)), self.width + 1 + _EXTRA, _rounding(embeddings.shape[1])
        while len(open_rows):
            at, floor = _nearest(embeddings, rows[open_rows], self.base.first, min(count, len(self.base.first)), self.backend)
            found, scores = _ranked(embeddings, rows[open_rows], at, self.base, self.width)
            indices[open_rows], similarities[open_rows] = found, scores
            # What was left out scores at most the floor, give or take rounding; equal to the last that is kept, it may precede it.
            certain = (floor == -np.inf) | (scores[:, -1] > floor + rounding)
            open_rows, count = open_rows[~certain], 4 * count
        return indices, similarities


@dataclass(frozen=True, slots=True)
class Approximate:
    """Searches the inverted lists nearest to each row, then compares exactly."""

    index: Any
    """FAISS index whose entry *i* is vector *i* of the base."""
    base: Vectors
    width: int
    on_gpu: ClassVar[bool] = False

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """See `BlockSearch`."""
        _, at = self.index.search(floats(embeddings, rows), min(2 * self.width + 1, len(self.base.first)))
        return _ranked(embeddings, rows, at, self.base, self.width)


def search(
    embeddings: Halves,
    *,
    k: int,
    seed: int = 0,
    previous: PreviousNeighbors | None = None,
    advance: Callable[[int], None] | None = None,
    spread: Spread = here,
    backend: Backend = PROCESSORS,
) -> Neighbors:
    """Find every row's ``k`` nearest rows.

    Args:
        embeddings: float16 ``[n, d]`` unit rows, may be memory-mapped; NaN rows have no neighbors and are no row's neighbor.
        k: neighbors to keep.
        seed: for the approximate search's training sample.
        previous: an earlier result for most of the same rows; only changed rows are searched, with the same result if both searches are exact.
        advance: called with the number of rows done since the last call.
        spread: searches the blocks of rows; the result does not depend on it.
        backend: compares every pair in large datasets; small ones use the CPU.
    """
    advance = advance or (lambda _: None)
    valid = np.flatnonzero(~np.isnan(np.asarray(embeddings[:, 0])))
    width = k + SPARE
    indices = np.full((len(embeddings), width), -1, np.int32)
    similarities = np.full((len(embeddings), width), np.nan, np.float32)
    on_gpu = backend.on_gpu and len(valid) >= GPU_FROM and 2 * len(valid) ** 2 * embeddings.shape[1] <= GPU_UP_TO
    approximate = len(valid) > EXACT_UP_TO and not on_gpu
    wanted = valid
    if previous is not None and len(valid) > 1 and (previous.exact or approximate):
        most = int(_UPDATED_UP_TO * len(valid) ** 0.5 if approximate or on_gpu else _SEARCH_ALL_FROM * len(valid))
        if (previous.old_row_of_new[valid] < 0).sum() <= most:
            wanted = _reuse(embeddings, valid, previous.known, previous.old_row_of_new, k, indices, similarities)
        if len(wanted) > most:
            wanted = valid
    updated = previous is not None and wanted is not valid
    exact = not approximate or (previous is not None and previous.exact and updated)
    base = Vectors.of(embeddings, valid)
    index = _index(embeddings, base.first, seed) if approximate and not updated else None
    if len(valid) > 1:
        work: BlockSearch = Exact(base, width, backend if on_gpu else PROCESSORS) if index is None else Approximate(index, base, width)
        together = int(np.clip(-(-len(wanted) // _GPU_BLOCKS), *_GPU_BLOCK)) if work.on_gpu else _QUERY_BLOCK
        blocks = [wanted[start : start + together] for start in range(0, len(wanted), together)]
        for rows, (found, scores) in spread(work, embeddings, blocks):
            indices[rows], similarities[rows] = found, scores
            advance(len(rows))
    method = "exact" if exact else "IVF, exactly re-ranked"
    recall = None if exact else _recall(embeddings, valid, base, indices[:, :k], seed)
    known = Known(indices, similarities, complete=len(valid) <= width + 1)
    return Neighbors(np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(similarities[:, :k]), method, recall, known)


def _reuse(
    embeddings: Halves, valid: Rows, previous: Known, old_row_of_new: Rows, k: int, indices: npt.NDArray[np.int32], similarities: Floats
) -> Rows:
    """Fill in the rows with enough known neighbors left, merge new rows into them, and return the rows that must be searched."""
    new_row_of_old = np.full(len(previous.indices) + 1, -1, np.int64)  # the last entry stands for "no neighbor"
    known = valid[old_row_of_new[valid] >= 0]
    new_row_of_old[old_row_of_new[known]] = known
    fresh = np.setdiff1d(valid, known, assume_unique=True)
    reordered = bool((np.diff(old_row_of_new[known]) < 0).any())
    certain = np.zeros(len(known), bool)
    for start in range(0, len(known), _QUERY_BLOCK):
        rows = known[start : start + _QUERY_BLOCK]
        moved = new_row_of_old[previous.indices[old_row_of_new[rows]]]
        carried = previous.similarities[old_row_of_new[rows]]
        horizon = np.full(len(rows), -np.inf) if previous.complete else np.nanmin(carried, axis=1, initial=np.inf)
        if reordered:  # among rows tied at the horizon, others than the stored ones may come first now
            moved = np.where(carried > horizon[:, None], moved, -1)
        enough = np.flatnonzero(((moved >= 0).sum(axis=1) >= k) | previous.complete)
        rows, moved, carried, horizon = rows[enough], moved[enough], carried[enough], horizon[enough]
        certain[start + enough] = _merge(embeddings, rows, moved, carried, horizon, fresh, indices, similarities)
    return np.setdiff1d(valid, known[certain], assume_unique=True)


def _merge(
    embeddings: Halves,
    rows: Rows,
    old: Rows,
    carried: Floats,
    horizon: npt.NDArray[np.float64],
    fresh: Rows,
    indices: npt.NDArray[np.int32],
    similarities: Floats,
) -> npt.NDArray[np.bool_]:
    """Merge new rows into known neighbors, which are incomplete below the horizon. Return for which rows the result is certain."""
    found, floor = np.full((len(rows), 0), -1, np.int64), np.full(len(rows), -np.inf)
    margin = horizon - _rounding(embeddings.shape[1])
    if len(fresh):
        count = min(indices.shape[1] + 1, len(fresh))
        rough, at = PROCESSORS.nearest(embeddings, rows, floats(embeddings, fresh), count)
        found = np.where(rough >= margin[:, None], fresh[at], -1)
        floor = rough[:, -1] if count < len(fresh) else floor
    scores = _similarities(embeddings, rows, found)
    # An old row tied at the horizon may be missing, and so may a new one above it if more exist than were compared.
    certain: npt.NDArray[np.bool_] = ~(scores == horizon[:, None]).any(axis=1) & ((floor == -np.inf) | (floor < margin))
    found = np.where(scores > horizon[:, None], found, -1)
    both = np.concatenate([np.where(old >= 0, carried, -np.inf), scores], axis=1)
    _keep_best(rows, np.concatenate([old, found], axis=1), both, indices, similarities)
    return certain


def _rounding(dimension: int) -> float:
    """Return a bound on how far a matrix product and the fixed-order sum of unit vectors differ: d / 2**24 each (Higham 2002, section 3.1)."""
    return dimension / 2**23


def _nearest(embeddings: Halves, rows: Rows, base: Rows, count: int, backend: Backend) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Return positions of the ``count`` best of the base for each row, in no order, and the score that none of the others exceeds before rounding."""
    best_scores = np.empty((len(rows), 0), np.float32)
    best = np.empty((len(rows), 0), np.int64)
    room = backend.room(embeddings[rows[:1]].shape[1])
    for first in range(0, len(base), room):
        part = base if len(base) <= room else base[first : first + room]
        scores, at = _nearest_in_part(embeddings, rows, part, min(count, len(part)), backend)
        best_scores, best = np.concatenate([best_scores, scores], axis=1), np.concatenate([best, first + at], axis=1)
        if best.shape[1] > count:
            top = np.argpartition(-best_scores, count - 1, axis=1)[:, :count]
            best_scores, best = np.take_along_axis(best_scores, top, 1), np.take_along_axis(best, top, 1)
    floor = best_scores.min(axis=1).astype(np.float64) if count < len(base) else np.full(len(rows), -np.inf)
    return best, floor


def _nearest_in_part(embeddings: Halves, rows: Rows, part: Rows, count: int, backend: Backend) -> tuple[Floats, Rows]:
    """Compare rows with a part of the base that is held while all of them pass."""
    held = backend.hold(embeddings, part)
    scores, found = np.empty((len(rows), count), np.float32), np.empty((len(rows), count), np.int64)
    for start in range(0, len(rows), backend.queries):
        block = slice(start, start + backend.queries)
        scores[block], found[block] = backend.nearest(embeddings, rows[block], held, count)
    return scores, found


def _index(embeddings: Halves, base: Rows, seed: int) -> Any:
    """Build inverted lists of projected vectors over some rows."""
    sample = np.sort(np.random.default_rng(seed).choice(base, min(_TRAINED_ON, len(base)), replace=False))
    lists = int(4 * np.sqrt(len(base)))
    dimension = embeddings.shape[1]
    # Projecting subtracts the mean: of unit rows distances still rank as cosines do, inner products no longer.
    index = faiss.index_factory(dimension, f"PCA{min(_PROJECTED, dimension)},IVF{lists},SQ8", faiss.METRIC_L2)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.seed = seed
    inverted.cp.min_points_per_centroid = 1  # FAISS asks for 39 a list and warns in the middle of the progress; how good the lists are is measured
    index.train(floats(embeddings, sample))
    for start in range(0, len(base), BASE_BLOCK):
        index.add(floats(embeddings, base[start : start + BASE_BLOCK]))
    inverted.nprobe = min(_LISTS_PROBED, lists)
    return index


def _recall(embeddings: Halves, valid: Rows, base: Vectors, found: npt.NDArray[np.int32], seed: int) -> float:
    """Return the share of true neighbors that were found, against an exact search of a sample."""
    checked = np.sort(np.random.default_rng([seed, 1]).choice(valid, min(_RECALL_SAMPLE, len(valid)), replace=False))
    exact, _ = Exact(base, found.shape[1] + SPARE)(embeddings, checked)
    exact = exact[:, : found.shape[1]]
    hits = sum(np.intersect1d(found[row], true[true >= 0]).size for row, true in zip(checked, exact, strict=True))
    return float(hits / max(int((exact >= 0).sum()), 1))


def _ranked(embeddings: Halves, rows: Rows, at: Rows, base: Vectors, width: int) -> Found:
    """Compare rows with candidate vectors exactly and keep the best rows, never a row itself."""
    scores = _similarities(embeddings, rows, np.where(at >= 0, base.first[at], -1))
    if len(base.members) == len(base.first):
        others = np.where(at >= 0, base.first[at], -1)
    else:
        others, column = base.expand(at, width + 1)
        scores = np.take_along_axis(scores, column, 1)
    others = np.where(others == rows[:, None], -1, others)
    indices = np.full((len(rows), width), -1, np.int32)
    similarities = np.full((len(rows), width), np.nan, np.float32)
    _keep_best(np.arange(len(rows)), others, scores, indices, similarities)
    return indices, similarities


def _keep_best(rows: Rows, candidates: Rows, scores: Floats, indices: npt.NDArray[np.int32], similarities: Floats) -> None:
    """Write each row's best candidates, by falling similarity and then by row."""
    k = indices.shape[1]
    scores = np.where(candidates >= 0, scores, -np.inf)
    order = np.lexsort((candidates, -scores), axis=1)[:, :k]
    best, best_scores = np.take_along_axis(candidates, order, 1), np.take_along_axis(scores, order, 1)
    there = best_scores > -np.inf
    indices[rows, : best.shape[1]] = np.where(there, best, -1)
    similarities[rows, : best.shape[1]] = np.where(there, best_scores, np.nan)


def _similarities(embeddings: Halves, rows: Rows, candidates: Rows) -> Floats:
    """Return the cosine of each row with each of its candidates, summed along the vector in one fixed order."""
    scores = np.full(candidates.shape, np.nan, np.float32)
    for start in range(0, len(rows), _RERANK_BLOCK):
        block = slice(start, start + _RERANK_BLOCK)
        first, second = np.nonzero(candidates[block] >= 0)
        if len(first):
            products = floats(embeddings, candidates[block][first, second])
            products *= floats(embeddings, rows[block])[first]
            scores[block][first, second] = products.sum(axis=1)
    return scores

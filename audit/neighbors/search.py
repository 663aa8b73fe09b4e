"""Nearest neighbors by cosine, with FAISS: exact while that is cheap, longer on a GPU; else approximate with an exact re-rank and a measured recall.

Whatever finds the candidates, the similarity that is kept is computed again pair by pair, in one fixed order of additions: it does not depend on row
order, on the size of a block or on the machine's matrix library, so a scan that only searched what changed equals a scan that searched everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from audit.neighbors.backends import BASE_BLOCK, PROCESSORS, Backend, Floats, Halves, Rows, floats

EXACT_UP_TO = 50_000
"""Rows up to which every pair is compared: at 1280 dimensions about two minutes on two cores, growing with the square."""

GPU_FROM = 10_000
"""Rows from which a GPU is used where there is one: fewer take processors seconds, as does starting on a card."""

GPU_UP_TO = 4e17
"""Multiplications and additions, two for each pair and dimension, up to which a GPU compares every pair, however little of the base it can hold: 20
million rows of 512. Half an hour at 200 TFLOP/s, which a large card gives, and six hours at 20, a small one; beyond it the approximate search on
processors, which grows more slowly, takes less. Not decided by a clock: the same rows give the same neighbors on the same kind of machine."""

SPARE = 6
"""More neighbors found than asked for: rounding in the search cannot drop one that counts, and a row that loses a few later need not be searched
again."""

_QUERY_BLOCK, _RERANK_BLOCK = 4096, 128
_GPU_BLOCKS = 16
_GPU_BLOCK = 65_536, 2**20
"""A GPU's share of the queries at a time: a sixteenth, so that several GPUs have work, but enough for a base that is sent to it each time, and few
enough that what was found for them (2 GB) lies in memory."""
_PROJECTED = 192
_LISTS_PROBED = 64
_TRAINED_ON = 100_000
_RECALL_SAMPLE = 500
_ROUNDING = 1e-3
"""More than a matrix product and the exact sum can differ by."""
_SEARCH_ALL_FROM = 0.3
"""Share of rows to search anew from which an update is no cheaper than a whole exact search."""
_UPDATED_UP_TO = 20
"""Times the square root of all rows: so many are compared with every row before a whole approximate search is cheaper. The lists probed grow with
that root; by the seconds that a row took in either search, 26 at 110,000 x 1280 and 22 at 1,281,167 x 512. As many where a GPU searches all: what
changed is compared by processors."""


@dataclass(frozen=True, slots=True)
class Known:
    """Every row's nearest rows, some more than were asked for; nothing nearer than the last of a row is missing from it."""

    indices: npt.NDArray[np.int32]
    """``[n, k + SPARE]``; -1 at the end where fewer are known."""
    similarities: Floats
    complete: bool
    """Whether there were so few rows that every row knows all others."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Every row's nearest rows, never itself."""

    indices: npt.NDArray[np.int32]
    """``[n, k]`` rows, nearest first; -1 where there is none."""
    similarities: Floats
    """``[n, k]`` cosines, NaN where there is no neighbor."""
    method: str
    recall: float | None
    """Share of true neighbors found, measured on a sample; None where the search was exact."""
    known: Known
    """What a later search can start from."""


@dataclass(frozen=True, slots=True)
class PreviousNeighbors:
    """What an earlier search found, and where its rows are now."""

    known: Known
    exact: bool
    """Whether every search it stands on was."""
    old_row_of_new: Rows
    """``[n]``: which old row each row was; -1 for a new one."""


Found = tuple[npt.NDArray[np.int32], Floats]
"""A block's nearest rows ``[m, width]`` and their cosines; -1 and NaN where there is none."""


class BlockSearch(Protocol):
    """Finds the nearest rows of a block of rows. Picklable: blocks may be searched in other processes, on other machines."""

    @property
    def on_gpu(self) -> bool:
        """Whether it needs a GPU where it is called."""
        ...

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """Search for some rows; the embeddings are asked for nothing but rows, as ``embeddings[rows]``."""
        ...


Spread = Callable[[BlockSearch, Halves, list[Rows]], Iterator[tuple[Rows, Found]]]
"""Where blocks are searched: takes the work, the embeddings and the blocks; yields each block and what it found, in any order."""


def here(work: BlockSearch, embeddings: Halves, blocks: list[Rows]) -> Iterator[tuple[Rows, Found]]:
    """Search the blocks one after the other in this process."""
    return ((rows, work(embeddings, rows)) for rows in blocks)


@dataclass(frozen=True, slots=True)
class Exact:
    """Compares each row with every row of the base."""

    base: Rows
    width: int
    backend: Backend = PROCESSORS

    @property
    def on_gpu(self) -> bool:
        """See `BlockSearch`."""
        return self.backend.on_gpu

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """See `BlockSearch`."""
        return _ranked(embeddings, rows, _nearest(embeddings, rows, self.base, min(self.width + 1, len(self.base)), self.backend), self.width)


@dataclass(frozen=True, slots=True)
class Approximate:
    """Looks in the inverted lists nearest to each row, then compares exactly."""

    index: Any
    """FAISS index whose entry *i* is row ``base[i]``."""
    base: Rows
    width: int
    on_gpu: ClassVar[bool] = False

    def __call__(self, embeddings: Halves, rows: Rows) -> Found:
        """See `BlockSearch`."""
        _, at = self.index.search(floats(embeddings, rows), min(2 * self.width + 1, len(self.base)))
        return _ranked(embeddings, rows, np.where(at >= 0, self.base[at], -1), self.width)


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
        embeddings: float16 ``[n, d]`` unit rows, may be memory-mapped; NaN rows have no neighbors and are nobody's.
        k: neighbors to keep.
        seed: for the approximate search's training sample.
        previous: an earlier result for most of the same rows; only what changed is searched, with the same result where both searches are exact.
        advance: told how many more rows are done.
        spread: where blocks of rows are searched; wherever that is, the result is the same.
        backend: what compares every pair where they are more than a few; the processors where a GPU would not pay.
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
            wanted = _carry_over(embeddings, valid, previous.known, previous.old_row_of_new, k, indices, similarities)
        if len(wanted) > most:
            wanted = valid
    updated = previous is not None and wanted is not valid
    index = _index(embeddings, valid, seed) if approximate and not updated else None
    exact = not approximate or (previous is not None and previous.exact and updated)
    if len(valid) > 1:
        work: BlockSearch = Exact(valid, width, backend if on_gpu else PROCESSORS) if index is None else Approximate(index, valid, width)
        together = int(np.clip(-(-len(wanted) // _GPU_BLOCKS), *_GPU_BLOCK)) if work.on_gpu else _QUERY_BLOCK
        blocks = [wanted[start : start + together] for start in range(0, len(wanted), together)]
        for rows, (found, scores) in spread(work, embeddings, blocks):
            indices[rows], similarities[rows] = found, scores
            advance(len(rows))
    method = "exact" if exact else "IVF, exactly re-ranked"
    recall = None if exact else _recall(embeddings, valid, indices[:, :k], seed)
    known = Known(indices, similarities, complete=len(valid) <= width + 1)
    return Neighbors(np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(similarities[:, :k]), method, recall, known)


def _carry_over(
    embeddings: Halves, valid: Rows, previous: Known, old_row_of_new: Rows, k: int, indices: npt.NDArray[np.int32], similarities: Floats
) -> Rows:
    """Fill in the rows that still know enough neighbors, new rows merged in; return the rows that must be searched."""
    new_row_of_old = np.full(len(previous.indices) + 1, -1, np.int64)  # the last entry stands for "no neighbor"
    known = valid[old_row_of_new[valid] >= 0]
    new_row_of_old[old_row_of_new[known]] = known
    fresh = np.setdiff1d(valid, known, assume_unique=True)
    certain = np.zeros(len(known), bool)
    for start in range(0, len(known), _QUERY_BLOCK):
        rows = known[start : start + _QUERY_BLOCK]
        moved = new_row_of_old[previous.indices[old_row_of_new[rows]]]
        enough = np.flatnonzero(((moved >= 0).sum(axis=1) >= k) | previous.complete)
        rows = rows[enough]
        carried = previous.similarities[old_row_of_new[rows]]
        horizon = np.full(len(carried), -np.inf) if previous.complete else np.nanmin(carried, axis=1)
        certain[start + enough] = _merge(embeddings, rows, moved[enough], carried, horizon, fresh, indices, similarities)
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
    """Merge new rows into known neighbors; below its horizon a row knows nothing. Returns which rows came out certain."""
    found = np.full((len(rows), 0), -1, np.int64)
    if len(fresh):
        rough, at = PROCESSORS.nearest(embeddings, rows, floats(embeddings, fresh), min(indices.shape[1] + 1, len(fresh)))
        found = np.where(rough >= horizon[:, None] - _ROUNDING, fresh[at], -1)
    scores = _similarities(embeddings, rows, found)
    tied = (scores == horizon[:, None]).any(axis=1)  # an old row just as near may have been left out: which of the two counts is not known
    found = np.where(scores > horizon[:, None], found, -1)
    both = np.concatenate([np.where(old >= 0, carried, -np.inf), scores], axis=1)
    _keep_best(rows, np.concatenate([old, found], axis=1), both, indices, similarities)
    certain: npt.NDArray[np.bool_] = ~tied
    return certain


def _nearest(embeddings: Halves, rows: Rows, base: Rows, count: int, backend: Backend) -> Rows:
    """Return the ``count`` rows of the base that are nearest to each row, compared one by one; in no order, rows themselves among them."""
    best_scores = np.empty((len(rows), 0), np.float32)
    best = np.empty((len(rows), 0), np.int64)
    room = backend.room(embeddings[rows[:1]].shape[1])
    for first in range(0, len(base), room):
        part = base if len(base) <= room else base[first : first + room]
        scores, found = _nearest_in_part(embeddings, rows, part, min(count, len(part)), backend)
        best_scores, best = np.concatenate([best_scores, scores], axis=1), np.concatenate([best, found], axis=1)
        if best.shape[1] > count:
            top = np.argpartition(-best_scores, count - 1, axis=1)[:, :count]
            best_scores, best = np.take_along_axis(best_scores, top, 1), np.take_along_axis(best, top, 1)
    return best


def _nearest_in_part(embeddings: Halves, rows: Rows, part: Rows, count: int, backend: Backend) -> tuple[Floats, Rows]:
    """Compare rows with a part of the base that is held while all of them pass."""
    held = backend.hold(embeddings, part)
    scores, found = np.empty((len(rows), count), np.float32), np.empty((len(rows), count), np.int64)
    for start in range(0, len(rows), backend.queries):
        block = slice(start, start + backend.queries)
        scores[block], at = backend.nearest(embeddings, rows[block], held, count)
        found[block] = part[at]
    return scores, found


def _index(embeddings: Halves, valid: Rows, seed: int) -> Any:
    """Build inverted lists of projected vectors over the valid rows."""
    sample = np.sort(np.random.default_rng(seed).choice(valid, min(_TRAINED_ON, len(valid)), replace=False))
    lists = int(4 * np.sqrt(len(valid)))
    dimension = embeddings.shape[1]
    # Projecting subtracts the mean: of unit rows distances still rank as cosines do, inner products no longer.
    index = faiss.index_factory(dimension, f"PCA{min(_PROJECTED, dimension)},IVF{lists},SQ8", faiss.METRIC_L2)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.seed = seed
    inverted.cp.min_points_per_centroid = 1  # FAISS asks for 39 a list and warns in the middle of the progress; how good the lists are is measured
    index.train(floats(embeddings, sample))
    for start in range(0, len(valid), BASE_BLOCK):
        index.add(floats(embeddings, valid[start : start + BASE_BLOCK]))
    inverted.nprobe = min(_LISTS_PROBED, lists)
    return index


def _recall(embeddings: Halves, valid: Rows, found: npt.NDArray[np.int32], seed: int) -> float:
    """Return the share of true neighbors that were found, against an exact search of a sample."""
    checked = np.sort(np.random.default_rng([seed, 1]).choice(valid, min(_RECALL_SAMPLE, len(valid)), replace=False))
    exact, _ = Exact(valid, found.shape[1] + SPARE)(embeddings, checked)
    exact = exact[:, : found.shape[1]]
    hits = sum(np.intersect1d(found[row], true[true >= 0]).size for row, true in zip(checked, exact, strict=True))
    return float(hits / max(int((exact >= 0).sum()), 1))


def _ranked(embeddings: Halves, rows: Rows, candidates: Rows, width: int) -> Found:
    """Compare rows with their candidates exactly and keep the best, never a row itself."""
    others = np.where(candidates == rows[:, None], -1, candidates)
    indices = np.full((len(rows), width), -1, np.int32)
    similarities = np.full((len(rows), width), np.nan, np.float32)
    _keep_best(np.arange(len(rows)), others, _similarities(embeddings, rows, others), indices, similarities)
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

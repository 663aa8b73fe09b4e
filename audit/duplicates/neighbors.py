"""Nearest neighbors by cosine, with FAISS: exact while that is cheap, else approximate with an exact re-rank and a measured recall.

Whatever finds the candidates, the similarity that is kept is computed again pair by pair, in one fixed order of additions: it does not depend on row
order, on
the size of a block or on the machine's matrix library, so a scan that only searched what changed equals a scan that searched everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

EXACT_UP_TO = 50_000
"""Rows up to which every pair is compared: at 1280 dimensions about two minutes on two cores, growing with the square."""

SPARE = 6
"""More neighbors found than asked for: rounding in the search cannot drop one that counts, and a row that loses a few later need not be searched
again."""

_QUERY_BLOCK, _BASE_BLOCK, _RERANK_BLOCK = 4096, 65_536, 128
_PROJECTED = 128
_LISTS_PROBED = 48
_TRAINED_ON = 100_000
_RECALL_SAMPLE = 500
_ROUNDING = 1e-3
"""More than a matrix product and the exact sum can differ by."""
_SEARCH_ALL_FROM = 0.3
"""Share of rows to search anew from which an update is no cheaper than a whole search."""


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
    """What an earlier exact search found, and where its rows are now."""

    known: Known
    old_row_of_new: Rows
    """``[n]``: which old row each row was; -1 for a new one."""


def search(
    embeddings: Halves, *, k: int, seed: int = 0, previous: PreviousNeighbors | None = None, advance: Callable[[int], None] | None = None
) -> Neighbors:
    """Find every row's ``k`` nearest rows.

    Args:
        embeddings: float16 ``[n, d]`` unit rows, may be memory-mapped; NaN rows have no neighbors and are nobody's.
        k: neighbors to keep.
        seed: for the approximate search's training sample.
        previous: an earlier result for most of the same rows; only what changed is searched, with the same result.
        advance: told how many more rows are done.
    """
    advance = advance or (lambda _: None)
    valid = np.flatnonzero(~np.isnan(np.asarray(embeddings[:, 0])))
    width = k + SPARE
    indices = np.full((len(embeddings), width), -1, np.int32)
    similarities = np.full((len(embeddings), width), np.nan, np.float32)
    method, recall = "exact", None
    if len(valid) > EXACT_UP_TO and faiss.get_num_gpus() == 0:
        method = "IVF, exactly re-ranked"
        recall = _search_approximately(embeddings, valid, k, seed, indices, similarities, advance)
    elif len(valid) > 1:
        wanted = valid
        if previous is not None:
            wanted = _carry_over(embeddings, valid, previous.known, previous.old_row_of_new, k, indices, similarities)
            if len(wanted) > _SEARCH_ALL_FROM * len(valid):
                wanted = valid
        for rows, candidates in _candidates(embeddings, wanted, valid, min(width + 1, len(valid))):
            _rank(embeddings, rows, candidates, indices, similarities)
            advance(len(rows))
    known = Known(indices, similarities, complete=len(valid) <= width + 1)
    return Neighbors(np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(similarities[:, :k]), method, recall, known)


def _carry_over(
    embeddings: Halves, valid: Rows, previous: Known, old_row_of_new: Rows, k: int, indices: npt.NDArray[np.int32], similarities: Floats
) -> Rows:
    """Fill in the rows that still know enough neighbors, new rows merged in; return the rows that must be searched."""
    new_row_of_old = np.full(len(previous.indices) + 1, -1, np.int64)  # the last entry stands for "no neighbor"
    known = valid[old_row_of_new[valid] >= 0]
    new_row_of_old[old_row_of_new[known]] = known
    before = previous.indices[old_row_of_new[known]]
    moved = new_row_of_old[before]
    enough = (moved >= 0).sum(axis=1) >= k
    if previous.complete:
        enough[:] = True
    kept = known[enough]
    fresh = np.setdiff1d(valid, known, assume_unique=True)
    sure = np.ones(len(kept), bool)
    for start in range(0, len(kept), _QUERY_BLOCK):
        block = slice(start, start + _QUERY_BLOCK)
        carried = previous.similarities[old_row_of_new[kept[block]]]
        horizon = np.full(len(carried), -np.inf) if previous.complete else np.nanmin(carried, axis=1)
        sure[block] = _merge(embeddings, kept[block], moved[enough][block], carried, horizon, fresh, indices, similarities)
    return np.setdiff1d(valid, kept[sure], assume_unique=True)


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
        rough, at = _knn(_floats(embeddings, rows), _floats(embeddings, fresh), min(indices.shape[1] + 1, len(fresh)))
        found = np.where(rough >= horizon[:, None] - _ROUNDING, fresh[at], -1)
    scores = _similarities(embeddings, rows, found)
    tied = (scores == horizon[:, None]).any(axis=1)  # an old row just as near may have been left out: which of the two counts is not known
    found = np.where(scores > horizon[:, None], found, -1)
    both = np.concatenate([np.where(old >= 0, carried, -np.inf), scores], axis=1)
    _keep_best(rows, np.concatenate([old, found], axis=1), both, indices, similarities)
    certain: npt.NDArray[np.bool_] = ~tied
    return certain


def _candidates(embeddings: Halves, rows: Rows, base: Rows, count: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield blocks of rows with the ``count`` rows of the base that are nearest to each, compared one by one."""
    for start in range(0, len(rows), _QUERY_BLOCK):
        block = rows[start : start + _QUERY_BLOCK]
        queries = _floats(embeddings, block)
        best_scores = np.empty((len(block), 0), np.float32)
        best = np.empty((len(block), 0), np.int64)
        for first in range(0, len(base), _BASE_BLOCK):
            part = base[first : first + _BASE_BLOCK]
            scores, at = _knn(queries, _floats(embeddings, part), min(count, len(part)))
            best_scores, best = np.concatenate([best_scores, scores], axis=1), np.concatenate([best, part[at]], axis=1)
            if best.shape[1] > count:
                top = np.argpartition(-best_scores, count - 1, axis=1)[:, :count]
                best_scores, best = np.take_along_axis(best_scores, top, 1), np.take_along_axis(best, top, 1)
        yield block, best


def _knn(queries: Floats, base: Floats, count: int) -> tuple[Floats, Rows]:
    if faiss.get_num_gpus() > 0:
        return faiss.knn_gpu(faiss.StandardGpuResources(), queries, base, count, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, base, count, metric=faiss.METRIC_INNER_PRODUCT)


def _search_approximately(
    embeddings: Halves, valid: Rows, k: int, seed: int, indices: npt.NDArray[np.int32], similarities: Floats, advance: Callable[[int], None]
) -> float:
    """Search in inverted lists of projected vectors, re-rank on the full ones, and measure the recall against an exact search of a sample."""
    dimension = embeddings.shape[1]
    random = np.random.default_rng(seed)
    sample = np.sort(random.choice(valid, min(_TRAINED_ON, len(valid)), replace=False))
    projected = min(_PROJECTED, dimension)
    lists = int(4 * np.sqrt(len(valid)))
    index = faiss.index_factory(dimension, f"PCA{projected},IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.seed = seed
    index.train(_floats(embeddings, sample))
    for start in range(0, len(valid), _BASE_BLOCK):
        index.add(_floats(embeddings, valid[start : start + _BASE_BLOCK]))
    inverted.nprobe = min(_LISTS_PROBED, lists)
    count = min(2 * indices.shape[1] + 1, len(valid))
    for start in range(0, len(valid), _QUERY_BLOCK):
        rows = valid[start : start + _QUERY_BLOCK]
        _, at = index.search(_floats(embeddings, rows), count)
        _rank(embeddings, rows, np.where(at >= 0, valid[at], -1), indices, similarities)
        advance(len(rows))
    checked = np.sort(random.choice(valid, min(_RECALL_SAMPLE, len(valid)), replace=False))
    exact = np.full((len(checked), k), -1, np.int32)
    true_scores = np.full((len(checked), k), np.nan, np.float32)
    for rows, candidates in _candidates(embeddings, checked, valid, min(k + 1 + SPARE, len(valid))):
        at = np.searchsorted(checked, rows)
        _keep_best(at, np.where(candidates == rows[:, None], -1, candidates), _similarities(embeddings, rows, candidates), exact, true_scores)
    hits = sum(np.intersect1d(indices[row, :k], found).size for row, found in zip(checked, exact, strict=True))
    return float(hits / max(int((exact >= 0).sum()), 1))


def _rank(embeddings: Halves, rows: Rows, candidates: Rows, indices: npt.NDArray[np.int32], similarities: Floats) -> None:
    others = np.where(candidates == rows[:, None], -1, candidates)
    _keep_best(rows, others, _similarities(embeddings, rows, others), indices, similarities)


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
            products = _floats(embeddings, candidates[block][first, second])
            products *= _floats(embeddings, rows[block])[first]
            scores[block][first, second] = products.sum(axis=1)
    return scores


_FLOAT_OF_HALF = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every float16 as a float32: looking them up is four times as fast as NumPy's conversion."""


def _floats(embeddings: Halves, rows: Rows) -> Floats:
    return _FLOAT_OF_HALF[np.ascontiguousarray(embeddings[rows]).view(np.uint16)]

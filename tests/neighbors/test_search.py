"""Neighbors: exact, the same however they are found, and cheap to update."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.neighbors import backends
from audit.neighbors import search as module
from audit.neighbors.search import PreviousNeighbors, search


def units(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def brute_force(embeddings: np.ndarray, k: int) -> np.ndarray:
    wide = embeddings.astype(np.float64)
    cosines = np.nan_to_num(wide) @ np.nan_to_num(wide).T
    np.fill_diagonal(cosines, -9)
    bad = np.isnan(wide[:, 0])
    cosines[:, bad] = -9
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.where(bad[:, None] | (np.take_along_axis(cosines, order, 1) == -9), -1, order)


def test_exact_search_is_exact():
    embeddings = units(200)
    embeddings[[3, 50]] = np.nan
    found = search(embeddings, k=7)
    assert found.recall is None
    assert np.array_equal(found.indices, brute_force(embeddings, 7))
    assert found.indices.dtype == np.int32
    assert np.isnan(found.similarities[[3, 50]]).all()
    good = np.delete(np.arange(200), [3, 50])
    assert (np.diff(found.similarities[good], axis=1) <= 0).all()


def tied(n: int, seed: int, d: int = 24) -> np.ndarray:
    """Unit rows with many exact ties: few distinct vectors, some of them one another's permutations, with equal sums."""
    random = np.random.default_rng(seed)
    distinct = units(max(n // 8, 1), d, seed)
    return np.concatenate([distinct, distinct[random.integers(0, len(distinct), n - len(distinct))]])[random.permutation(n)]


def ranked_by_row(embeddings: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest rows by float32 sums in the package's fixed order, equal ones by row."""
    rows = np.arange(len(embeddings))
    scores = module._similarities(embeddings, rows, np.tile(rows, (len(rows), 1)))
    scores[rows, rows] = -np.inf
    return np.lexsort((np.tile(rows, (len(rows), 1)), -scores), axis=1)[:, :k]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(40, 200), st.integers(1, 9))
def test_ties_are_broken_by_row(seed, n, k):
    embeddings = tied(n, seed)
    assert np.array_equal(search(embeddings, k=k).indices, ranked_by_row(embeddings, k))


def test_ties_at_the_edge_do_not_depend_on_blocks(monkeypatch):
    """A product of few rows and one of many round differently: a neighbor at the edge was in the list of one and not of the other."""
    embeddings = tied(600, seed=3, d=1280)
    whole = search(embeddings, k=20).known
    for queries, base in ((1, 37), (7, 600), (300, 64)):
        monkeypatch.setattr(module, "_QUERY_BLOCK", queries)
        monkeypatch.setattr(backends, "BASE_BLOCK", base)
        cut = search(embeddings, k=20).known
        assert np.array_equal(whole.indices, cut.indices)
        assert np.array_equal(whole.similarities, cut.similarities, equal_nan=True)


def test_rounding_hides_no_neighbor(monkeypatch):
    """Whatever a backend's last digits are, the result is the same."""
    embeddings = units(300, d=64, seed=5)
    whole = search(embeddings, k=5).known

    class Noisy(backends.Processors):
        def nearest(self, embeddings, rows, held, count):
            scores = backends.floats(embeddings, rows) @ held.T
            scores += np.random.default_rng(0).uniform(-1, 1, scores.shape).astype(np.float32) * 0.4 * module._rounding(64)
            at = np.argsort(-scores, axis=1)[:, :count]
            return np.take_along_axis(scores, at, 1), at

    monkeypatch.setattr(module, "_EXTRA", 0)
    monkeypatch.setattr(module, "_rounding", lambda dimension: 0.02)
    found = module.Exact(module.Vectors.of(embeddings, np.arange(300)), 11, Noisy())(embeddings, np.arange(300))
    assert np.array_equal(found[0], whole.indices)


def test_a_crowd_of_identical_vectors_is_one_vector(monkeypatch):
    embeddings = np.repeat(units(3, seed=1), [2000, 5, 1], axis=0)
    sizes = []
    nearest = module._nearest
    monkeypatch.setattr(module, "_nearest", lambda e, rows, base, *rest: sizes.append(len(base)) or nearest(e, rows, base, *rest))
    found = search(embeddings, k=4)
    assert set(sizes) == {3}
    assert found.indices[0].tolist() == [1, 2, 3, 4]
    assert found.indices[1999].tolist() == [0, 1, 2, 3]
    assert found.indices[2001, :4].tolist() == [2000, 2002, 2003, 2004]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_an_update_of_tied_rows_equals_a_whole_search(seed, removed, added, shuffled):
    random = np.random.default_rng(seed)
    before = tied(150, seed)
    kept = np.sort(random.permutation(150)[removed:])
    if shuffled:
        kept = random.permutation(kept)
    after = np.concatenate([before[kept], before[random.integers(0, 150, added)]])
    old_row = np.concatenate([kept, np.full(added, -1)])
    first = search(before, k=5)
    updated = search(after, k=5, previous=PreviousNeighbors(first.known, exact=True, old_row_of_new=old_row))
    whole = search(after, k=5)
    assert np.array_equal(updated.indices, whole.indices)
    assert np.array_equal(updated.similarities, whole.similarities, equal_nan=True)


def test_more_new_copies_than_are_compared_do_not_depend_on_the_backend(monkeypatch):
    class LastFirst(backends.Processors):
        """Of equal scores, returns the last rows."""

        def nearest(self, embeddings, rows, held, count):
            scores = backends.floats(embeddings, rows) @ held.T
            at = len(held) - 1 - np.argsort(-scores[:, ::-1], axis=1, kind="stable")[:, :count]
            return np.take_along_axis(scores, at, 1), at

    monkeypatch.setattr(module, "PROCESSORS", LastFirst())
    before = units(400)
    after = np.concatenate([before, np.repeat(before[:1], 40, axis=0)])
    old_row = np.concatenate([np.arange(400), np.full(40, -1)])
    first = search(before, k=5)
    updated = search(after, k=5, previous=PreviousNeighbors(first.known, exact=True, old_row_of_new=old_row))
    assert updated.indices[0].tolist() == [400, 401, 402, 403, 404]
    assert np.array_equal(updated.indices, search(after, k=5).indices)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_rows(n):
    found = search(units(n), k=5)
    assert found.indices.shape == (n, 5)
    assert (found.indices[:, : max(n - 1, 0)] >= 0).all()
    assert (found.indices[:, max(n - 1, 0) :] == -1).all()
    assert not (found.indices == np.arange(n)[:, None]).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 90), st.integers(1, 9))
def test_row_order_does_not_matter(seed, n, k):
    embeddings = units(n, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    one, other = search(embeddings, k=k), search(embeddings[order], k=k)
    assert np.array_equal(one.similarities[order], other.similarities, equal_nan=True)
    back = np.append(order, -1)
    assert np.array_equal(one.indices[order], back[other.indices])


def test_block_sizes_do_not_matter(monkeypatch):
    embeddings = units(150)
    whole = search(embeddings, k=6)
    monkeypatch.setattr(module, "_QUERY_BLOCK", 17)
    monkeypatch.setattr(backends, "BASE_BLOCK", 31)
    monkeypatch.setattr(module, "_RERANK_BLOCK", 5)
    cut = search(embeddings, k=6)
    assert np.array_equal(whole.indices, cut.indices)
    assert np.array_equal(whole.similarities, cut.similarities)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 8), st.integers(0, 3))
def test_an_update_equals_a_whole_search(seed, removed, added, failed):
    random = np.random.default_rng(seed)
    before = units(120, seed=seed)
    kept = np.sort(random.permutation(120)[removed:])
    new = units(added, seed=seed + 1) if added else np.empty((0, 24), np.float16)
    after = np.concatenate([before[kept], new])
    old_row = np.concatenate([kept, np.full(added, -1)])
    order = random.permutation(len(after))
    after, old_row = after[order], old_row[order]
    broken = random.choice(len(after), failed, replace=False)
    after[broken], old_row[broken] = np.nan, -1
    first = search(before, k=5)
    updated = search(after, k=5, previous=PreviousNeighbors(first.known, exact=True, old_row_of_new=old_row))
    whole = search(after, k=5)
    assert np.array_equal(updated.indices, whole.indices)
    assert np.array_equal(updated.similarities, whole.similarities, equal_nan=True)


def test_an_update_searches_little(monkeypatch):
    before = units(400)
    first = search(before, k=5)
    searched = []
    nearest = module._nearest
    monkeypatch.setattr(module, "_nearest", lambda e, rows, *rest: searched.append(len(rows)) or nearest(e, rows, *rest))
    old_row = np.arange(400)
    after = before.copy()
    after[7], old_row[7] = units(1, seed=9)[0], -1
    search(after, k=5, previous=PreviousNeighbors(first.known, exact=True, old_row_of_new=old_row))
    assert sum(searched) < 5


def test_an_update_needs_little_memory_beside_what_it_gives_back():
    rows, width = 100_000, 26
    ahead = np.arange(rows, dtype=np.int32)[:, None] + np.arange(1, width + 1, dtype=np.int32)
    likeness = np.tile(np.linspace(1, 0.5, width, dtype=np.float32), (rows, 1))
    known = module.Known(ahead % rows, likeness, complete=False)
    old_row = np.arange(rows)
    old_row[:: rows // 10] = -1
    indices, similarities = np.full((rows, width), -1, np.int32), np.full((rows, width), np.nan, np.float32)
    tracemalloc.start()
    try:
        searched = module._reuse(np.ones((rows, 1), np.float16), np.arange(rows), known, old_row, 20, indices, similarities)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(searched, np.flatnonzero(old_row < 0))
    assert peak < indices.nbytes + similarities.nbytes


def test_the_approximate_search_says_how_good_it_is(monkeypatch, capfd):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    centers = units(40, 64, seed=1).astype(np.float32)
    noise = np.random.default_rng(2).normal(scale=0.08, size=(4000, 64))
    vectors = centers[np.arange(4000) % 40] + noise
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    found = search(embeddings, k=10)
    assert found.recall is not None
    truth = brute_force(embeddings, 10)
    recall = np.mean([np.isin(truth[row], found.indices[row]).mean() for row in range(4000)])
    assert recall > 0.9
    assert found.recall == pytest.approx(recall, abs=0.05)
    assert np.array_equal(found.indices, search(embeddings, k=10).indices)
    assert capfd.readouterr() == ("", "")  # FAISS would warn of few rows a list


def around_centers(n, seed):
    noise = np.random.default_rng(seed).normal(scale=0.08, size=(n, 64))
    vectors = units(40, 64, seed=1).astype(np.float32)[np.arange(n) % 40] + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("exact", [True, False])
def test_past_the_exact_search_what_changed_is_compared_with_every_row(monkeypatch, exact):
    before = around_centers(4000, seed=2)
    if not exact:
        monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    first = search(before, k=10)
    assert (first.recall is None) == exact
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    after, old_row = np.concatenate([before[40:], around_centers(40, seed=3)]), np.append(np.arange(40, 4000), np.full(40, -1))
    monkeypatch.setattr(module, "_index", None)  # a whole search would need one
    updated = search(after, k=10, previous=PreviousNeighbors(first.known, exact, old_row))
    truth = brute_force(after, 10)
    assert np.array_equal(updated.indices[-40:], truth[-40:])
    if exact:
        assert (updated.method, updated.recall) == ("exact", None)
        assert np.array_equal(updated.indices, truth)
    else:
        assert updated.recall >= first.recall - 0.01
        new = np.isin(truth, np.arange(3960, 4000))
        assert (updated.indices[new.any(axis=1)] >= 3960).sum() >= new.sum()


def test_an_approximate_search_is_no_start_for_an_exact_one(monkeypatch):
    before = around_centers(1200, seed=4)
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    first = search(before, k=5)
    monkeypatch.setattr(module, "EXACT_UP_TO", 2000)
    updated = search(before, k=5, previous=PreviousNeighbors(first.known, first.recall is None, np.arange(1200)))
    assert np.array_equal(updated.indices, brute_force(before, 5))


def test_many_changes_ask_for_a_whole_approximate_search(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    monkeypatch.setattr(module, "_UPDATED_UP_TO", 1)
    before = around_centers(1200, seed=4)
    first = search(before, k=5)
    after, old_row = np.concatenate([before, around_centers(50, seed=5)]), np.append(np.arange(1200), np.full(50, -1))
    updated = search(after, k=5, previous=PreviousNeighbors(first.known, exact=False, old_row_of_new=old_row))
    assert np.array_equal(updated.indices, search(after, k=5).indices)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_updates_of_updates_equal_a_whole_search(seed):
    random = np.random.default_rng(seed)
    embeddings = units(150, seed=seed)
    found = search(embeddings, k=5)
    for step in range(5):
        kept = np.sort(random.permutation(len(embeddings))[random.integers(0, 6) :])
        new = units(3, seed=seed + step + 1)
        if step % 2:
            new[0] = embeddings[kept[0]]
        embeddings = np.concatenate([embeddings[kept], new])
        found = search(embeddings, k=5, previous=PreviousNeighbors(found.known, exact=True, old_row_of_new=np.concatenate([kept, [-1, -1, -1]])))
        whole = search(embeddings, k=5)
        assert np.array_equal(found.indices, whole.indices)
        assert np.array_equal(found.similarities, whole.similarities)


def test_rows_that_all_lie_in_one_direction_are_found_as_well(monkeypatch):
    """A model's embeddings share most of what they are; ranked by what is left without their mean, one in three neighbors was another."""
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    draw = np.random.default_rng(0)
    spread = (np.arange(1, 257) ** -0.5).astype(np.float32)
    rows = draw.normal(size=(4000, 256)).astype(np.float32) * spread + draw.normal(size=256).astype(np.float32) * 2 * spread
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    assert search(embeddings, k=20).recall > 0.9

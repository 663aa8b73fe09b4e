"""Candidates: every near neighbor and every hash within the radius, once, for any block size."""

import tracemalloc

import numpy as np
import pytest

from audit.pairs import candidates as module
from audit.pairs.candidates import candidates


def proposed(neighbors, hashes, leaders=None):
    count = len(hashes)
    leaders = np.arange(count) if leaders is None else np.array(leaders)
    similarities = np.where(neighbors >= 0, 0.5, np.nan).astype(np.float32)
    blocks = candidates(neighbors, similarities, (hashes,), np.ones(count, bool), leaders, 6)
    return {(i, j) for block in blocks for i, j in zip(block.first.tolist(), block.second.tolist(), strict=True)}


def crowd(count, seed=0):
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, count, np.uint64)
    for row in range(0, count, 5):
        bits = random.choice(64, random.integers(1, 10), replace=False)
        hashes[row] = hashes[(row + 1) % count] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))
    return hashes


@pytest.mark.parametrize("brute_force_up_to", [0, 10_000])
def test_finds_all_hashes_within_the_radius(monkeypatch, brute_force_up_to):
    monkeypatch.setattr(module, "_BRUTE_FORCE_UP_TO", brute_force_up_to)
    monkeypatch.setattr(module, "_ASKED_AT_ONCE", 25)
    monkeypatch.setattr(module, "BLOCK", 64)
    hashes = crowd(400)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    true = {(i, j) for i, j in np.argwhere(apart <= 6).tolist() if i < j}
    assert len(true) > 30
    assert proposed(np.full((400, 3), -1, np.int32), hashes) == true


@pytest.mark.parametrize(("block", "at_once"), [(16, 1000), (1000, 1000), (1000, 7)])
@pytest.mark.parametrize("order", ["first", "last", "between"])
def test_hub_is_paired_with_rows_that_have_few_near_hashes(monkeypatch, order, block, at_once):
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "_ASKED_AT_ONCE", at_once)
    random = np.random.default_rng(0)
    middle, leaves = random.integers(0, 2**64, dtype=np.uint64), []
    while len(leaves) < 60:  # within 6 bits of the middle, not of each other
        leaf = middle ^ np.bitwise_or.reduce(np.uint64(1) << random.choice(64, 6, replace=False).astype(np.uint64))
        if all(np.bitwise_count(leaf ^ other) > 6 for other in leaves):
            leaves.append(leaf)
    at = {"first": 0, "last": 60, "between": 31}[order]
    hashes = np.array([*leaves[:at], middle, *leaves[at:]], np.uint64)
    found = proposed(np.full((61, 1), -1, np.int32), hashes)
    assert found == {(min(at, row), max(at, row)) for row in range(61) if row != at}


def test_crowd_proposes_no_pairs_within_itself():
    hashes = np.full(60, 7, np.uint64)
    assert proposed(np.full((60, 1), -1, np.int32), hashes) == set()


def test_large_crowd_is_never_listed_whole():
    hashes = np.full(4000, 7, np.uint64)
    tracemalloc.start()
    try:
        assert proposed(np.full((4000, 1), -1, np.int32), hashes) == set()
        assert tracemalloc.get_traced_memory()[1] < 60e6  # a number for each of all 16 million pairs takes 128 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("block", [7, 1000])
def test_neighbors_are_proposed_from_either_side(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    random = np.random.default_rng(1)
    neighbors = np.array([random.choice(np.delete(np.arange(60), row), 4, replace=False) for row in range(60)], np.int32)
    hashes = random.integers(0, 2**64, 60, np.uint64)
    true = {(min(i, j), max(i, j)) for i, row in enumerate(neighbors.tolist()) for j in row}
    assert true <= proposed(neighbors, hashes)


def test_identical_copies_are_compared_once():
    neighbors = np.array([[2], [3], [0], [1]], np.int32)
    assert proposed(neighbors, np.array([0, 0, 2**64 - 1, 2**64 - 1], np.uint64), leaders=[0, 0, 2, 2]) == {(0, 2)}

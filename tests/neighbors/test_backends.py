"""A search on a GPU finds what a search on the CPU finds; tested with a fake backend that holds as little as a small GPU."""

import importlib
import pickle

import faiss
import numpy as np
import pytest
import torch

from audit.backbones import placement
from audit.errors import AuditError
from audit.neighbors import backends
from audit.neighbors import search as neighbors
from audit.neighbors.backends import PROCESSORS, Gpu, Processors, floats, rows_that_fit
from audit.neighbors.search import Exact, PreviousNeighbors, Vectors, here, search


class Card:
    """Holds part of the base and compares blocks of queries with it, like a GPU; counts its calls."""

    on_gpu = True
    reason = ""

    def __init__(self, room, queries=70):
        self.queries, self._room = queries, room
        self.held, self.compared = [], 0

    def room(self, dimension):
        return self._room

    def hold(self, embeddings, base):
        assert len(base) <= self._room
        self.held.append(len(base))
        return floats(embeddings, base)

    def nearest(self, embeddings, rows, held, count):
        assert len(rows) <= self.queries
        self.compared += len(rows) * len(held)
        return faiss.knn(floats(embeddings, rows), held, count, metric=faiss.METRIC_INNER_PRODUCT)


def units(n, d=24, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    embeddings[[3, n // 2]] = np.nan
    return embeddings


def same(one, other):
    assert (one.method, one.recall) == (other.method, other.recall)
    assert np.array_equal(one.known.indices, other.known.indices)
    assert np.array_equal(one.known.similarities, other.known.similarities, equal_nan=True)


@pytest.fixture
def many(monkeypatch):
    """Few rows count as many."""
    for name, value in (("GPU_FROM", 100), ("EXACT_UP_TO", 200), ("_GPU_BLOCK", (150, 400))):
        monkeypatch.setattr(neighbors, name, value)


@pytest.mark.parametrize("room", [10_000, 333, 64])
def test_gpu_of_any_size_finds_what_the_cpu_finds(monkeypatch, many, room):
    embeddings, card = units(1000), Card(room)
    found = search(embeddings, k=6, backend=card)
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 10_000)
    same(found, search(embeddings, k=6))
    assert card.compared == 998**2


def test_holds_part_of_the_base_for_all_queries_of_a_block(many):
    card = Card(300)
    search(units(1000), k=6, backend=card)
    assert card.held == [300, 300, 300, 98] * 7  # blocks of 150 of 998 rows


@pytest.mark.parametrize(
    ("rows", "blocks"), [(200_000, [65_536] * 3 + [3_392]), (1_281_167, [80_073] * 15 + [80_072]), (17_000_000, [2**20] * 16 + [222_784])]
)
def test_gpu_blocks_are_large_enough_to_load_the_base(monkeypatch, rows, blocks):
    sizes = []

    def spread(work, embeddings, made):
        sizes.extend(map(len, made))
        return iter(())

    monkeypatch.setattr(neighbors, "GPU_UP_TO", np.inf)
    search(np.zeros((rows, 1), np.float16), k=1, backend=Card(1), spread=spread)
    assert sizes[: len(blocks)] == blocks


def test_few_and_very_many_rows_use_the_cpu(monkeypatch):
    used = []
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 100)

    def spread(work, embeddings, blocks):
        used.append(work.on_gpu)
        return here(work, embeddings, blocks)

    embeddings = units(1000)
    for gpu_from, gpu_up_to in ((1001, 1e18), (500, 2 * 998**2 * 24), (500, 2 * 998**2 * 24 - 1)):
        monkeypatch.setattr(neighbors, "GPU_FROM", gpu_from)
        monkeypatch.setattr(neighbors, "GPU_UP_TO", gpu_up_to)
        found = search(embeddings, k=6, backend=Card(500), spread=spread)
        assert (found.recall is None) == used[-1]
    assert used == [False, True, False]
    assert 2 * 1_281_167**2 * 512 < 2 * 14_000_000**2 * 512 < 4e17 < 2 * 14_000_000**2 * 1280


def test_small_change_uses_the_cpu_and_lost_neighbors_the_gpu(monkeypatch, many):
    before = units(1000)
    first = search(before, k=6, backend=Card(300))
    after, old_row = np.delete(before, np.arange(500, 540), axis=0), np.delete(np.arange(1000), np.arange(500, 540))
    after[7], old_row[7] = units(5, seed=9)[0], -1
    card = Card(10_000)
    updated = search(after, k=6, backend=card, previous=PreviousNeighbors(first.known, exact=True, old_row_of_new=old_row))
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 10_000)
    whole = search(after, k=6)
    assert np.array_equal(updated.indices, whole.indices)
    assert np.array_equal(updated.similarities, whole.similarities, equal_nan=True)
    assert 0 < card.compared < 500 * 1000


def test_pickled_gpu_backend_has_no_state():
    five = Vectors.of(np.eye(5, dtype=np.float16), np.arange(5))
    sent = pickle.loads(pickle.dumps(Exact(five, 3, Gpu("cuda:0"))))
    assert sent.on_gpu
    assert (sent.backend._device, sent.backend._held, sent.backend._resources) == ("cuda:0", None, None)
    assert not Exact(five, 3, PROCESSORS).on_gpu


def test_rows_that_fit_on_a_gpu():
    assert rows_that_fit(80 * 2**30, 512) > 14_000_000 * 5
    assert rows_that_fit(4 * 2**30, 1280) == 2**31 // 2560
    assert rows_that_fit(0, 1280) == 65_536


@pytest.mark.parametrize(
    ("device", "gpus", "fault", "expected", "reason"),
    [
        ("cuda:1", 2, None, Gpu, ""),
        ("cuda:1", 2, "it burns", Processors, "neighbors are searched on the CPU, not on cuda:1: it burns"),
        ("cuda:1", 0, None, Processors, "neighbors are searched on the CPU, not on cuda:1: this build of FAISS has no GPU support"),
        ("cpu", 2, None, Processors, ""),
    ],
)
def test_uses_gpu_if_both_libraries_support_it(monkeypatch, device, gpus, fault, expected, reason):
    monkeypatch.setattr(placement, "own_device", lambda asked: asked)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus)
    monkeypatch.setattr(backends, "_fault_of", lambda device: fault)
    found = backends.on_this_machine(device)
    assert type(found) is expected
    assert found.reason == reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_unusable_gpu_is_detected_in_a_separate_process():
    """This machine has no GPU; the calling process must survive."""
    assert backends._fault_of("cuda:0")


def test_gpu_backend_on_a_fake_device(monkeypatch):
    """The parts that need no CUDA: what is held, for how long, and the calls to FAISS."""
    asked = []

    def knn_gpu(resources, queries, base, count, metric):
        asked.append((resources, queries.dtype, base.dtype, metric))
        scores, at = (queries.float() @ base.float().T).topk(count)
        return scores, at

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.inference_mode())
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: len(asked), raising=False)
    monkeypatch.setattr(backends, "BASE_BLOCK", 300)
    monkeypatch.setattr(backends, "_SCRATCH", 2**20 - 300 * 48)
    importlib.import_module("faiss.contrib.torch_utils")  # it patches the functions patched below
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu)
    embeddings, valid = units(1000), np.setdiff1d(np.arange(1000), [3, 500])
    rows = valid[:500]
    for room in (300, 5000):
        gpu = Gpu("cpu")
        gpu._room, asked[:] = room, []
        found = Exact(Vectors.of(embeddings, valid), 12, gpu)(embeddings, rows)
        for one, other in zip(found, Exact(Vectors.of(embeddings, valid), 12)(embeddings, rows), strict=True):
            assert np.array_equal(one, other)
        held = gpu.hold(embeddings, valid)
        assert gpu.hold(embeddings, valid) is held
        assert gpu.hold(embeddings, valid[:7]) is not held
        assert set(asked) == {(0, torch.float16, torch.float16, faiss.METRIC_INNER_PRODUCT)}
    assert Gpu("cpu").room(24) == max(2**19 // 48, 300)


def test_out_of_gpu_memory_is_one_error(monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(AuditError, match="cpu: out of memory during the neighbor search; "):
        Gpu("cpu").hold(units(20), np.arange(2))

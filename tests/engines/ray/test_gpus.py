"""Simulated GPUs of a Ray cluster: Ray counts one, and the towers placed on it run on the CPU."""

import os
import sys

import numpy as np
import pandas as pd
import pytest

import audit
from audit import ScanOptions
from audit.backbones import choose, placement
from audit.backbones.runtime import Placement
from audit.engines import open_engine
from audit.errors import BackboneError
from audit.neighbors import search as neighbors

ON_RAY = ScanOptions(backbone="embedded-small", offline=True, engine="ray", batch_size=4)

SIMULATION = """
import faiss
import ray
from audit.backbones import placement, runtime
from audit.neighbors import backends

Real = runtime.TorchEmbedder


class OnCpu(Real):
    def __init__(self, backbone, placement, **options):
        super().__init__(backbone, runtime.Placement("PyTorch", "cpu", placement.precision), **options)


class Card:
    on_gpu, queries, reason = True, 500, ""

    def room(self, dimension):
        return 900

    def hold(self, embeddings, base):
        return backends.floats(embeddings, base)

    def nearest(self, embeddings, rows, held, count):
        assert ray.get_runtime_context().get_accelerator_ids()["GPU"] == ["0"]
        return faiss.knn(backends.floats(embeddings, rows), held, count, metric=faiss.METRIC_INNER_PRODUCT)


def simulate():
    backends.on_this_machine = lambda device: Card()
    placement.place = lambda backbone, *, device, precision, note: runtime.Placement(
        *(("ONNX Runtime", "cpu") if device == "cpu" else ("PyTorch", "cuda")), "float32"
    )
    runtime.TorchEmbedder = OnCpu
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),  # Ray's own
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, start_cluster):
    """A head with four CPUs for work without a GPU, and a machine with one CPU and one GPU."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "simulated_gpu.py").write_text(SIMULATION)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    sys.path.append(str(folder))
    yield start_cluster({"num_cpus": 4}, {"num_cpus": 1, "num_gpus": 1}, runtime_env={"worker_process_setup_hook": "simulated_gpu.simulate"})
    sys.path.remove(str(folder))
    os.environ["PYTHONPATH"] = before


def test_scan_on_gpus_equals_a_local_scan(tmp_path, data, cluster, monkeypatch):
    """The GPU machine has fewer CPUs than the cluster, and the driver has no GPU: nothing waits, and models are fitted on the CPU."""
    run = audit.scan(data, tmp_path / "run", options=ON_RAY)
    assert run.record["backbone"]["device"] == "cuda"
    assert run.record["stages"]["predictions"]["state"] == "done"
    monkeypatch.setattr(placement, "place", lambda *_, **__: Placement("PyTorch", "cpu", "float32"))
    alone = audit.scan(data, tmp_path / "alone", options=ScanOptions(backbone="embedded-small", offline=True, batch_size=4))
    pd.testing.assert_frame_equal(run.samples, alone.samples, rtol=1e-4)
    np.testing.assert_allclose(run.embeddings.astype(np.float32), alone.embeddings.astype(np.float32), atol=1e-3)
    found = [set(zip(one.findings["check"], one.findings["sample_id"], strict=True)) for one in (run, alone)]
    assert ("conflicting_labels", "train/bee/stolen.png") in found[0] & found[1]


def test_search_on_gpus_equals_a_local_search(cluster, monkeypatch):
    """Each task has its own GPU; tasks of a CPU search request and use none."""
    for name, value in (("GPU_FROM", 1000), ("EXACT_UP_TO", 2000), ("_GPU_BLOCK", (700, 1000)), ("_TRAINED_ON", 2000)):
        monkeypatch.setattr(neighbors, name, value)
    embeddings = np.random.default_rng(0).normal(size=(2500, 48))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float16)
    with open_engine(ON_RAY) as engine:
        card, none = engine.backend("auto"), engine.backend("cpu")
        assert (card.on_gpu, none.on_gpu) == (True, False)
        on_gpu = neighbors.search(embeddings, k=5, spread=engine.search, backend=card)
        approximate = neighbors.search(embeddings, k=5, spread=engine.search, backend=none)
    assert (on_gpu.method, approximate.method) == ("exact", "IVF, exactly re-ranked")
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 10_000)
    alone = neighbors.search(embeddings, k=5)
    assert np.array_equal(on_gpu.known.indices, alone.known.indices)
    assert np.array_equal(on_gpu.known.similarities, alone.known.similarities)


def test_refuses_gpu_number_on_a_cluster(cluster):
    with open_engine(ON_RAY) as engine, pytest.raises(BackboneError, match="cuda:1: Ray itself assigns GPUs to actors"):
        engine.place(choose("embedded").backbone, device="cuda:1", precision="auto", note=lambda _: None)

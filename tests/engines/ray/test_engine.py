"""A Ray cluster produces the same tables as one machine, also after crashes."""

import shlex
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

import audit
from audit import ScanOptions
from audit.engines import LocalEngine, open_engine
from audit.errors import AuditError, BackboneError, ConfigError
from audit.neighbors import search as neighbors

OPTIONS = ScanOptions(backbone="embedded-small", device="cpu", offline=True)
ON_RAY = ScanOptions(backbone="embedded-small", device="cpu", offline=True, engine="ray", batch_size=2)
STORE = 100 * 2**20

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own


@pytest.fixture(scope="module")
def cluster(start_cluster):
    """A head without CPUs, and two machines with one CPU each."""
    return start_cluster({"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1})


class Saboteur:
    """An observer that runs actions after given numbers of images."""

    def __init__(self, strikes):
        self.strikes = list(strikes)  # (images, action)
        self.read = 0
        self.name = ""
        self.notes = []

    def stage(self, name, total):
        self.name = name

    def advance(self, count):
        if self.name == "images":
            self.read += count
            while self.strikes and self.read >= self.strikes[0][0]:
                self.strikes.pop(0)[1]()

    def note(self, message):
        self.notes.append(message)


def kill_one(name):
    """Kill one of the Ray processes of a given task or actor name."""
    named = [process for process in psutil.process_iter(["cmdline"]) if f"ray::{name}" in " ".join(process.info["cmdline"] or ())]
    assert named
    named[0].kill()


def same_files(run, whole):
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.suffix in (".npy", ".parquet", ".jpg"))
    assert len(files) > 20
    assert [path for path in files if (run / path).read_bytes() != (whole / path).read_bytes()] == []


@pytest.mark.slow
def test_tables_equal_a_local_scan_after_losing_an_actor_and_a_machine(tmp_path, data, cluster):
    whole = audit.scan(data, tmp_path / "whole", options=OPTIONS)
    lost = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    observer = Saboteur([(30, lambda: kill_one("MapWorker")), (100, lambda: cluster.remove_node(lost, allow_graceful=False))])
    run = audit.scan(data, tmp_path / "run", options=ON_RAY, observer=observer)
    assert not observer.strikes
    assert observer.read == len(whole) == 282
    assert any("4 machines" in note for note in observer.notes)
    same_files(run.path, whole.path)
    assert run.record["counts"] == whole.record["counts"]
    assert audit.scan(data, run.path, options=OPTIONS).record["stages"]["ingest"] == run.record["stages"]["ingest"]  # nothing recomputed


@pytest.mark.slow
@pytest.mark.parametrize("exact_up_to", [10_000, 100])
def test_neighbors_equal_a_local_search_across_shards(monkeypatch, cluster, exact_up_to):
    for name, value in (("EXACT_UP_TO", exact_up_to), ("_QUERY_BLOCK", 300), ("_TRAINED_ON", 2000)):
        monkeypatch.setattr(neighbors, name, value)
    from audit.engines.ray import engine as on_ray

    monkeypatch.setattr(on_ray, "_SHARD_ROWS", 700)
    vectors = np.random.default_rng(0).normal(size=(2500, 48))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    embeddings[[3, 699, 700, 2499]] = np.nan
    alone = neighbors.search(embeddings, k=5, spread=LocalEngine().search)
    with open_engine(ON_RAY) as engine:
        spread = neighbors.search(embeddings, k=5, spread=engine.search)
    assert spread.method == alone.method
    assert spread.recall == alone.recall
    assert np.array_equal(spread.known.indices, alone.known.indices)
    assert np.array_equal(spread.known.similarities, alone.known.similarities, equal_nan=True)


class Slow:
    """Searches slowly enough for its process to be killed meanwhile."""

    on_gpu = False

    def __init__(self, work):
        self.work = work

    def __call__(self, embeddings, rows):
        time.sleep(0.5)
        return self.work(embeddings, rows)


@pytest.mark.slow
def test_neighbors_equal_a_local_search_after_losing_a_worker_and_a_machine(monkeypatch, cluster):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    monkeypatch.setattr(neighbors, "_QUERY_BLOCK", 200)
    vectors = np.random.default_rng(0).normal(size=(4000, 48))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    embeddings[[3, 699, 700, 2499]] = np.nan
    alone = neighbors.search(embeddings, k=100)  # results too large to be inlined in Ray's reply
    lost = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    strikes = {2: lambda: kill_one("_search"), 5: lambda: cluster.remove_node(lost, allow_graceful=False)}
    with open_engine(ON_RAY) as engine:

        def spread(work, vectors, blocks):
            for number, part in enumerate(engine.search(Slow(work), vectors, blocks)):
                strikes.pop(number, lambda: None)()
                yield part

        found = neighbors.search(embeddings, k=100, spread=spread)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert not strikes
    assert np.array_equal(found.known.indices, alone.known.indices)
    assert np.array_equal(found.known.similarities, alone.known.similarities, equal_nan=True)


@pytest.mark.slow
def test_worker_with_another_dataset_refuses(tmp_path, data, cluster, monkeypatch):
    """A machine without the dataset would report every image as missing; one with another copy would measure that."""
    from audit.engines.ray import engine as on_ray

    proof = on_ray._proof
    monkeypatch.setattr(on_ray, "_proof", lambda job: (proof(job)[0], "0" * 64))
    with pytest.raises(AuditError, match="does not read the same bytes as the driver"):
        audit.scan(data, tmp_path / "run", options=ON_RAY)
    monkeypatch.setattr(on_ray, "_proof", proof)
    monkeypatch.setattr(on_ray, "_fingerprint", lambda: "imagenet-audit 0.0.0")
    with pytest.raises(ConfigError, match="install the same releases on every machine"):
        audit.scan(data, tmp_path / "run", options=ON_RAY)


@pytest.mark.slow
def test_refuses_gpu_if_no_machine_has_one(tmp_path, data, cluster):
    with pytest.raises(BackboneError, match="the Ray cluster has no GPU"):
        audit.scan(data, tmp_path / "run", options=ScanOptions(backbone="embedded-small", device="cuda", offline=True, engine="ray"))


def test_missing_ray_names_the_extra(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed .*; pip install 'imagenet-audit\[ray\]'"):
        audit.scan(data, tmp_path / "run", options=ON_RAY)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"engine": "rya"}, "unknown engine 'rya'; did you mean 'ray'"),
        ({"address": "auto"}, "add --engine ray"),
    ],
)
def test_refuses_invalid_options(options, problem):
    with pytest.raises(AuditError, match=problem):
        ScanOptions(**options)


@pytest.mark.parametrize(("address", "problem"), [("ray://head:10001", "Ray Client"), ("127.0.0.1:1", "refused"), ("head", "no Ray cluster answers")])
def test_refuses_address_without_a_cluster(tmp_path, data, monkeypatch, address, problem):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=problem):
        audit.scan(data, tmp_path / "run", options=ScanOptions(engine="ray", address=address, backbone="embedded-small"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces need Linux")
def test_local_ray_needs_no_network(tmp_path, data):
    """Ray starts, scans and stops in a network namespace with only the loopback device."""
    apart = ["unshare", "--net", "--map-root-user", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*apart, "ip link set lo up"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow network namespaces")
    scan = [
        sys.executable,
        "-m",
        "audit.cli",
        "scan",
        data,
        "--out",
        tmp_path / "run",
        "--backbone",
        "embedded-small",
        "--offline",
        "--engine",
        "ray",
    ]
    line = "ip link set lo up && exec " + shlex.join(str(word) for word in [*scan, "--only", "integrity", "--device", "cpu", "--workers", "1"])
    done = subprocess.run([*apart, line], check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(audit.open_run(tmp_path / "run")) == 282

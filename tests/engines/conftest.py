"""Fixtures of the tests on Ray clusters."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

STORE = 100 * 2**20
QUICK = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_timeout_ms": 1000}
"""Milliseconds until a lost machine is detected."""


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """282 images in two classes and two splits; one is corrupt, one is a copy under another label."""
    folder = tmp_path_factory.mktemp("dataset") / "data"
    for split, offset in (("train", 0), ("val", 5000)):
        for label in ("ant", "bee"):
            for number in range(70):
                path = folder / split / label / f"{number:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                coarse = np.random.default_rng(offset + number + 1000 * (label == "bee")).integers(0, 256, (7, 9, 3), np.uint8)
                Image.fromarray(coarse).resize((56, 44), Image.Resampling.BICUBIC).save(path)
    (folder / "train/bee/stolen.png").write_bytes((folder / "train/ant/0000.png").read_bytes())
    (folder / "train/ant/broken.jpg").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def start_cluster():
    """Start a cluster of the given machines, the first of them the head, and connect to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    clusters = []

    def start(*machines, **options):
        head, *others = ({"object_store_memory": STORE, **machine} for machine in machines)
        clusters.append(Cluster(initialize_head=True, head_node_args={**head, "include_dashboard": False, "_system_config": QUICK}))
        for machine in others:
            clusters[0].add_node(**machine)
        ray.init(address=clusters[0].address, log_to_driver=False, logging_level="ERROR", **options)
        return clusters[0]

    yield start
    ray.shutdown()
    for cluster in clusters:
        cluster.shutdown()


@dataclass
class Head:
    """The head of a cluster."""

    address: str
    token: Path
    """File of the cluster's token, if it has one."""
    process: psutil.Process

    def kill(self):
        """Kill the cluster's control service, but not Ray on this machine."""
        next(process for process in self.process.children(recursive=True) if "gcs_server" in process.name()).kill()


def without_ray():
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


@contextmanager
def _started_head(token):
    home = Path(tempfile.mkdtemp(prefix="ray"))  # Unix sockets need a short path
    written = home / ".ray" / "auth_token"
    if token is not None:
        written.parent.mkdir()
        written.write_text(token, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", f"--temp-dir={home / 't'}", "--num-cpus=1", "--block"]
    small = ["--include-dashboard=false", f"--object-store-memory={STORE}", "--disable-usage-stats"]
    with (home / "log").open("w") as log:
        started = subprocess.Popen([*line, *small], stdout=log, stderr=log, env={**without_ray(), "HOME": str(home)})
        try:
            while "Ray runtime started" not in (home / "log").read_text(encoding="utf-8"):
                assert started.poll() is None, (home / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
            yield Head(f"127.0.0.1:{port}", written, psutil.Process(started.pid))
        finally:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(started.pid).children(recursive=True)
                started.kill()  # terminating takes half a minute
                for process in children:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            started.wait(60)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def started_head():
    """Start a cluster with ``ray start --head`` in a temporary home, with or without a token."""
    return _started_head


@pytest.fixture
def scan_on():
    """Start a scan on the cluster at an address, in a separate process."""
    started = []

    def scan_on(address, data, out, *flags, **environment):
        line = [
            "scan",
            data,
            "--out",
            out,
            "--backbone",
            "embedded-small",
            "--offline",
            "--device",
            "cpu",
            "--only",
            "integrity",
            *(flags or ["--quiet"]),
        ]
        command = [sys.executable, "-m", "audit.cli", *map(str, line), "--engine", "ray", "--address", address]
        variables = {**without_ray(), **{name: str(value) for name, value in environment.items()}}
        started.append(subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield scan_on
    for scan in started:
        scan.kill()
        scan.wait(60)
        scan.stderr.close()

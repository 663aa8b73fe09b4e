"""What the tests on Ray clusters share."""

import os

import numpy as np
import pytest
from PIL import Image

STORE = 100 * 2**20
QUICK = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_timeout_ms": 1000}
"""Milliseconds until a machine that is gone counts as gone."""


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """282 images in two classes and two splits, one of them broken, one a copy under another label."""
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
    """Start a cluster of the machines asked for, the first of them its head, and connect to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    made = []

    def start(*machines, **options):
        head, *others = ({"object_store_memory": STORE, **machine} for machine in machines)
        made.append(Cluster(initialize_head=True, head_node_args={**head, "include_dashboard": False, "_system_config": QUICK}))
        for machine in others:
            made[0].add_node(**machine)
        ray.init(address=made[0].address, log_to_driver=False, logging_level="ERROR", **options)
        return made[0]

    yield start
    ray.shutdown()
    for cluster in made:
        cluster.shutdown()

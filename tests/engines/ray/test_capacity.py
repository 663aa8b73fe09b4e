"""Dividing a cluster into actors so that none waits for ever."""

import pytest

from audit.engines.ray.capacity import Capacity, capacity_of
from audit.errors import ConfigError


def machines(*resources):
    return [
        {"NodeID": f"m{number}", "Alive": True, "Resources": dict(zip(("CPU", "GPU"), pair, strict=True))} for number, pair in enumerate(resources)
    ]


@pytest.mark.parametrize(
    ("resources", "workers", "expected"),
    [
        ([(16, 4)], None, Capacity(4, 4, {"m0": 4})),
        ([(16, 4)], 2, Capacity(4, 2, {"m0": 2})),
        ([(4, 0), (1, 1)], None, Capacity(1, 1, {"m1": 1})),
        ([(64, 1), (2, 1)], None, Capacity(2, 2, {"m0": 64, "m1": 2})),
        ([(0, 8), (3, 2)], None, Capacity(2, 1, {"m1": 1})),
        ([(1, 2)], None, Capacity(1, 1, {"m0": 1})),
        ([(1, 0.5), (8, 1)], None, Capacity(1, 8, {"m1": 8})),
    ],
)
def test_gpu_gets_the_cpus_of_its_machine(resources, workers, expected):
    assert capacity_of(machines(*resources), on_gpu=True, workers=workers) == expected


def test_every_actor_fits_a_machine():
    for resources in ([(4, 0), (1, 1)], [(64, 1), (2, 1)], [(3, 2), (9, 4)]):
        found = capacity_of(machines(*resources), on_gpu=True)
        assert sum(min(gpus, cpus // found.cpus) for cpus, gpus in resources) == found.actors > 0


def test_one_actor_per_cpu_without_gpus():
    assert capacity_of(machines((3, 0), (2, 1)), on_gpu=False).actors == 5
    assert capacity_of(machines((3, 0), (2, 1)), on_gpu=False, workers=4).actors == 4


def test_ignores_lost_machines():
    gone = [{**machine, "Alive": False} for machine in machines((4, 4))]
    assert capacity_of([*gone, *machines((1, 1))], on_gpu=True).actors == 1


@pytest.mark.parametrize("resources", [[(0, 8), (4, 0)], [(4, 0)], []])
def test_refuses_request_that_no_machine_can_fulfil(resources):
    with pytest.raises(ConfigError, match="no machine of the cluster offers both a GPU and a CPU"):
        capacity_of(machines(*resources), on_gpu=True)


def test_refuses_cluster_without_cpus():
    with pytest.raises(ConfigError, match="no machine of the cluster offers a CPU"):
        capacity_of(machines((0, 1)), on_gpu=False)

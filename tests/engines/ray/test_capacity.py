"""A cluster is divided among actors so that none waits for a machine that is not there."""

import pytest

from audit.engines.ray.capacity import Room, room
from audit.errors import ConfigError


def machines(*resources):
    return [
        {"NodeID": f"m{number}", "Alive": True, "Resources": dict(zip(("CPU", "GPU"), pair, strict=True))} for number, pair in enumerate(resources)
    ]


@pytest.mark.parametrize(
    ("resources", "workers", "expected"),
    [
        ([(16, 4)], None, Room(4, 4, {"m0": 4})),
        ([(16, 4)], 2, Room(4, 2, {"m0": 2})),
        ([(4, 0), (1, 1)], None, Room(1, 1, {"m1": 1})),
        ([(64, 1), (2, 1)], None, Room(2, 2, {"m0": 64, "m1": 2})),
        ([(0, 8), (3, 2)], None, Room(2, 1, {"m1": 1})),
        ([(1, 2)], None, Room(1, 1, {"m0": 1})),
        ([(1, 0.5), (8, 1)], None, Room(1, 8, {"m1": 8})),
    ],
)
def test_a_gpu_gets_the_processors_of_its_own_machine(resources, workers, expected):
    assert room(machines(*resources), on_gpu=True, workers=workers) == expected


def test_what_an_actor_asks_for_some_machine_has():
    for resources in ([(4, 0), (1, 1)], [(64, 1), (2, 1)], [(3, 2), (9, 4)]):
        found = room(machines(*resources), on_gpu=True)
        assert sum(min(gpus, cpus // found.cpus) for cpus, gpus in resources) == found.actors > 0


def test_processors_alone_are_counted_one_by_one():
    assert room(machines((3, 0), (2, 1)), on_gpu=False).actors == 5
    assert room(machines((3, 0), (2, 1)), on_gpu=False, workers=4).actors == 4


def test_a_machine_that_is_gone_does_not_count():
    gone = [{**machine, "Alive": False} for machine in machines((4, 4))]
    assert room([*gone, *machines((1, 1))], on_gpu=True).actors == 1


@pytest.mark.parametrize("resources", [[(0, 8), (4, 0)], [(4, 0)], []])
def test_a_request_that_no_machine_can_fulfil_is_refused(resources):
    with pytest.raises(ConfigError, match="no machine of the cluster has a GPU and a CPU beside it"):
        room(machines(*resources), on_gpu=True)


def test_a_cluster_without_processors_is_refused():
    with pytest.raises(ConfigError, match="no machine of the cluster has a CPU to give"):
        room(machines((0, 1)), on_gpu=False)

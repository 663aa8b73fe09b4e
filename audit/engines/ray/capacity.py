"""How many actors a Ray cluster has room for, from what its machines say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Room:
    """Actors that a cluster can hold at once."""

    actors: int
    cpus: int
    """What each asks for: the least that a machine with GPUs has for one of them, so that no request waits for a machine that is not there."""
    processes: Mapping[str, int]
    """Id of a machine -> decoding processes of an actor there: all of the machine's own share of processors for a GPU."""


def room(machines: Sequence[Mapping[str, Any]], *, on_gpu: bool, workers: int | None = None) -> Room:
    """Divide a cluster among actors: one per CPU, or one per GPU with a share of the CPUs of its machine.

    Args:
        machines: as ``ray.nodes()`` lists them.
        on_gpu: whether an actor needs a GPU.
        workers: the most actors; on GPUs the most decoding processes of each.

    Raises:
        ConfigError: no machine can hold an actor, which would wait for ever.
    """
    has = {machine["NodeID"]: machine["Resources"] for machine in machines if machine["Alive"]}
    cpus = {name: int(resources.get("CPU", 0)) for name, resources in has.items()}
    if not on_gpu:
        actors = min(sum(cpus.values()), workers or sum(cpus.values()))
        if not actors:
            raise ConfigError("--engine ray", "no machine of the cluster has a CPU to give", "start Ray on one with --num-cpus of 1 or more")
        return Room(actors, 1, dict.fromkeys(cpus, 1))
    gpus = {name: int(has[name].get("GPU", 0)) for name, count in cpus.items() if count and has[name].get("GPU", 0) >= 1}
    if not gpus:
        problem = "no machine of the cluster has a GPU and a CPU beside it to give"
        raise ConfigError("--engine ray", problem, "start Ray there with --num-gpus and --num-cpus of 1 or more, or use --device cpu")
    share = {name: min(max(cpus[name] // count, 1), workers or cpus[name]) for name, count in gpus.items()}
    each = min(share.values())
    return Room(sum(min(count, cpus[name] // each) for name, count in gpus.items()), each, share)

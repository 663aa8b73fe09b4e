"""Compute how many actors a Ray cluster can run from the resources of its machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Capacity:
    """Actors that a cluster can run at once."""

    actors: int
    cpus: int
    """CPUs that each actor requests: the smallest number per GPU of any machine, so that no request waits forever."""
    processes: Mapping[str, int]
    """Machine id -> decoding processes of an actor there: the machine's CPUs per GPU."""


def capacity_of(machines: Sequence[Mapping[str, Any]], *, on_gpu: bool, workers: int | None = None) -> Capacity:
    """Divide a cluster into actors: one per CPU, or one per GPU with a share of its machine's CPUs.

    Args:
        machines: the output of ``ray.nodes()``.
        on_gpu: whether an actor needs a GPU.
        workers: maximum number of actors; on GPUs, maximum number of decoding processes of each.

    Raises:
        ConfigError: no machine can run an actor, which would wait forever.
    """
    resources_of = {machine["NodeID"]: machine["Resources"] for machine in machines if machine["Alive"]}
    cpus = {name: int(resources.get("CPU", 0)) for name, resources in resources_of.items()}
    if not on_gpu:
        actors = min(sum(cpus.values()), workers or sum(cpus.values()))
        if not actors:
            raise ConfigError("--engine ray", "no machine of the cluster offers a CPU", "start Ray on one with --num-cpus of 1 or more")
        return Capacity(actors, 1, dict.fromkeys(cpus, 1))
    gpus = {name: int(resources_of[name].get("GPU", 0)) for name, count in cpus.items() if count and resources_of[name].get("GPU", 0) >= 1}
    if not gpus:
        problem = "no machine of the cluster offers both a GPU and a CPU"
        raise ConfigError("--engine ray", problem, "start Ray on one with --num-gpus and --num-cpus of 1 or more, or use --device cpu")
    share = {name: min(max(cpus[name] // count, 1), workers or cpus[name]) for name, count in gpus.items()}
    each = min(share.values())
    return Capacity(sum(min(count, cpus[name] // each) for name, count in gpus.items()), each, share)

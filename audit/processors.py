"""The processors that a process may use, and how it starts processes of its own."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import BaseContext


def available_cpus() -> int:
    """Return how many processors this process may use: fewer than the machine has where a container or ``taskset`` says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_context() -> BaseContext:
    """Return how worker processes are started. Not by fork: this process may hold the threads of a model's runtime, which do not survive one."""
    return multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")

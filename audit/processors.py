"""The processors that a process may use, and how it starts processes of its own."""

from __future__ import annotations

import os
import sys
from multiprocessing.context import BaseContext
from types import ModuleType

if sys.platform == "win32":
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process
else:
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process


def available_cpus() -> int:
    """Return how many processors this process may use: fewer than the machine has where a container or ``taskset`` says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_context() -> BaseContext:
    """Return how worker processes are started. Not by fork: this process may hold the threads of a model's runtime, which do not survive one."""
    return _WorkerContext()


class _WorkerProcess(_Process):
    """A process that does not run its parent's script: nothing of it is needed, and a script that calls ``scan`` unguarded would scan anew."""

    def start(self) -> None:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing reads here what a child shall run first, and has no other switch
        try:
            super().start()
        finally:
            sys.modules["__main__"] = script


class _WorkerContext(_Context):
    Process = _WorkerProcess

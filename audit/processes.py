"""The processors that a process may use, and how it starts processes of its own."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from types import ModuleType

from audit.errors import AuditError

if sys.platform == "win32":
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process
else:
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process


_TRIES = 3
_PAUSE_SECONDS = 0.5
"""Until a process that was killed is known to be gone, and what is short of memory has given some back."""


def available_cpus() -> int:
    """Return how many processors this process may use: fewer than the machine has where a container or ``taskset`` says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_context() -> BaseContext:
    """Return how worker processes are started. Not by fork: this process may hold the threads of a model's runtime, which do not survive one."""
    return _WorkerContext()


def begin_worker() -> None:
    """Make this process one that its parent decides about: it leaves interrupts to it, and ends when it is gone, killed or not.

    A killed parent tells nobody; its workers would wait for work for ever, and hold the memory of their models.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise AssertionError("only a process that was started as a worker begins as one")
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _prepare() -> None:
    """Start the process that starts others, if it is not there yet, with interrupts blocked for good, as its children have them.

    While it imports it would answer Ctrl+C with its traceback.
    """
    if sys.platform == "win32":
        return
    resource_tracker.ensure_running()  # else it starts on the way, and lets interrupts in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _wait_for_its_imports()


@functools.cache
def _wait_for_its_imports() -> None:
    """Start a process that does nothing and wait for it.

    A start takes as long as these imports. A worker whose start is given up meanwhile would print that the locks it shares with its parent are gone.
    """
    process = _Process(target=int)
    process.start()
    process.join()


class _WorkerProcess(_Process):
    """A process that does not run its parent's script: nothing of it is needed, and a script that calls ``scan`` unguarded would scan anew."""

    def start(self) -> None:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing reads here what a child shall run first, and has no other switch
        try:
            for _ in range(_TRIES):
                try:
                    _prepare()
                    return super().start()
                except (EOFError, ConnectionError):  # the process that starts others was killed: the next that asks for it starts it anew
                    time.sleep(_PAUSE_SECONDS)
            raise AuditError("scan", "the process that starts those that read images dies again and again", "is memory short? give the same command")
        finally:
            sys.modules["__main__"] = script


class _WorkerContext(_Context):
    Process = _WorkerProcess

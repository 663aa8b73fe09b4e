"""Available CPUs, and the start of worker processes."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import TypeVar

from audit.errors import AuditError

if sys.platform == "win32":
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process
else:
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process


_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")

_BATCHES_AHEAD_PER_WORKER = 4

_TRIES = 3
_PAUSE_SECONDS = 0.5
"""Pause between attempts, for a killed process to be noticed and memory to be freed."""


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, which a container or ``taskset`` may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_context() -> BaseContext:
    """Return the start method of worker processes. Not fork: the threads of a model's runtime in this process would not survive it."""
    return _WorkerContext()


def begin_worker() -> None:
    """Make this process ignore interrupts, which its parent handles, and exit when its parent is gone.

    A killed parent cannot stop its workers: they would wait for work forever and keep the memory of their models.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise AssertionError("begin_worker must be called in a worker process")
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


class Processes:
    """Worker processes, each with one thread, that stay between calls of ``map``: starting one takes about a second.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def map(self, work: Callable[[_Batch], _Result], batches: Iterable[_Batch]) -> Iterator[_Result]:
        """Yield the result of each batch, in order; only a few batches per process are in memory.

        Raises:
            BrokenProcessPool: a process died; the next call starts others.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._count, mp_context=process_context(), initializer=_begin_one_thread_worker)
        running: deque[Future[_Result]] = deque()
        try:
            for batch in batches:
                running.append(self._pool.submit(work, batch))
                if len(running) == self._count * _BATCHES_AHEAD_PER_WORKER:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool:
            self.close()
            raise
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def in_processes(work: Callable[[_Batch], _Result], batches: Iterable[_Batch], count: int) -> Iterator[_Result]:
    """Yield the result of each batch, in order, from ``count`` processes that end afterwards; as `Processes.map`."""
    with contextlib.closing(Processes(count)) as processes:
        yield from processes.map(work, batches)


def _begin_one_thread_worker() -> None:
    import cv2

    begin_worker()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a library that uses it is loaded
    cv2.setNumThreads(1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _prepare() -> None:
    """Start the fork server, unless it runs already, with interrupts blocked for it and its children.

    Otherwise Ctrl+C during its imports would print a traceback.
    """
    if sys.platform == "win32":
        return
    resource_tracker.ensure_running()  # else the fork server starts it, which unblocks interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _wait_for_its_imports()


@functools.cache
def _wait_for_its_imports() -> None:
    """Start a process that does nothing and wait for it.

    A worker that is abandoned while the fork server still imports would print that the locks it shares with its parent are gone.
    """
    process = _Process(target=int)
    process.start()
    process.join()


class _WorkerProcess(_Process):
    """A process that does not run its parent's script: a script that calls ``scan`` without a main guard would start another scan."""

    def start(self) -> None:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing offers no other way to prevent that a child runs the script
        try:
            for _ in range(_TRIES):
                try:
                    _prepare()
                    return super().start()
                except (EOFError, ConnectionError):  # the fork server was killed; the next attempt starts another
                    time.sleep(_PAUSE_SECONDS)
            raise AuditError("scan", "worker processes keep crashing at start-up (out of memory?)", "run the same command again to resume")
        finally:
            sys.modules["__main__"] = script


class _WorkerContext(_Context):
    Process = _WorkerProcess

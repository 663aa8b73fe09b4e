"""Worker processes that read and decode images.

On a CPU, each worker also runs the model on its own core, so that pixels never cross process boundaries. For a GPU, workers write the model's inputs
to shared memory and the parent embeds large batches. A crash or a stall, as of a decoder on hostile bytes, affects only the image that caused it.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import DeviceEmbedder, Embedder
from audit.errors import AuditError
from audit.ingest.chunks import SLOW, Chunk, Ingested, Recipe, black, embed, embed_together, measure, no_features
from audit.processes import available_cpus, begin_worker, process_context
from audit.sources.storage.files import at_most
from audit.tables import THUMBNAIL_SIDE

_CHUNKS_AHEAD_PER_WORKER = 2
"""Chunks decoded ahead of the model: enough that neither side waits, few enough to bound memory."""

_TRIES_ALONE = 3
"""Crashes of an isolated image before it counts as crashed: a process may also be killed from outside, as when memory is low."""

_PAUSE_SECONDS = 1.0
"""Pause before an image that crashed a process is read again, so that memory can be freed."""

_PROCESSES_PAY_FROM = 256
"""For fewer images, starting worker processes takes longer than it saves."""


def ingest(
    chunks: Iterable[Chunk], images: int, recipe: Recipe, embedder: DeviceEmbedder | None, *, workers: int, together: int
) -> Iterator[Ingested]:
    """Read, decode, measure and embed chunks, in order.

    Args:
        chunks: what to read.
        images: total number of images in the chunks.
        recipe: the source, the model's preprocessing, limits, and the model if workers embed.
        embedder: the backbone on a GPU; None if workers embed.
        workers: number of decoding processes.
        together: maximum number of images per chunk.

    Yields:
        One result per chunk, each image with exactly one outcome.
    """
    if images < _PROCESSES_PAY_FROM:
        if embedder is not None:
            yield from embed_together((_measure_here(chunk, recipe) for chunk in chunks), embedder)
        else:
            own = recipe.model.open(available_cpus()) if recipe.model is not None else None
            results = (_measure_here(chunk, recipe) for chunk in chunks)
            yield from results if own is None else (embed(result, own) for result in results)
        return
    with contextlib.closing(Workers(recipe, workers, together)) as processes:
        yield from processes.measure(chunks) if embedder is None else embed_together(processes.measure(chunks), embedder)


def _measure_here(chunk: Chunk, recipe: Recipe) -> Ingested:
    """Measure a chunk in this process, except images that may be too slow, each of which gets a process that can be ended."""
    result = measure(chunk, replace(recipe, in_processes=False))
    for at, measured in enumerate(result.measures):
        if measured["outcome"] == SLOW and result.inputs is not None:
            single = _isolate(Chunk(chunk.rows[at : at + 1], [chunk.source_refs[at]]), replace(recipe, model=None))
            result.measures[at], result.thumbnails[at], result.features[at] = single.measures[0], single.thumbnails[0], single.features[0]
            result.inputs[at] = 0 if single.inputs is None else single.inputs[0]
    return result


class _Clock:
    """Ends a worker process whose image takes too long, and tells the parent which row it was.

    The signal's default action ends the process also inside a decoder, which no Python handler could interrupt.

    Args:
        slots: number of chunks that are measured at once.
        seconds: time per image.
    """

    def __init__(self, slots: int, seconds: float) -> None:
        self._seconds = seconds
        self._state = RawArray("d", 2 * slots)  # start of the image that each slot measures, 0 between images; its row

    @contextlib.contextmanager
    def timed(self, slot: int, row: int) -> Iterator[None]:
        self._state[2 * slot : 2 * slot + 2] = [time.monotonic(), row]
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._state[2 * slot] = 0

    def take_expired(self) -> set[int]:
        """Return the rows whose time is over, after the processes have ended, and reset."""
        now, state = time.monotonic(), np.array(self._state).reshape(-1, 2)
        self._state[:] = [0.0] * len(self._state)
        return {int(row) for started, row in state.tolist() if started and now - started >= self._seconds}


class _Slots:
    """Shared memory for the model inputs of running chunks; a pipe would copy them five times.

    Args:
        count: number of chunks.
        images: maximum number of images per chunk.
        side: side of an input, in pixels.
    """

    def __init__(self, count: int, images: int, side: int) -> None:
        self._shape = count, images, side, side, 3
        # An unnamed file, in memory if there is room: it disappears however the processes end.
        self._memory = RawArray("B", int(np.prod(self._shape)))

    def __getitem__(self, slot: int) -> npt.NDArray[np.uint8]:
        """Return a chunk's inputs, ``[images, side, side, 3]``."""
        inputs: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8).reshape(self._shape)[slot]
        return inputs


_worker: tuple[Recipe, Embedder | None, _Slots | None, _Clock] | None = None  # set once per worker process, at start-up


def _start_worker(recipe: Recipe, slots: _Slots | None, clock: _Clock) -> None:
    import cv2

    global _worker  # noqa: PLW0603  the only way to pass constants to the workers of a pool
    begin_worker()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    _worker = recipe, recipe.model.open(threads=1) if recipe.model is not None else None, slots, clock


def _work(chunk: Chunk, slot: int = 0) -> Ingested:
    if _worker is None:
        raise AssertionError("the worker was started without a recipe")
    recipe, embedder, slots, clock = _worker
    timed = partial(clock.timed, slot)
    if slots is None:
        result = measure(chunk, recipe, timed=timed)
        return result if embedder is None else embed(result, embedder)
    inputs = slots[slot][: len(chunk.rows)]
    inputs[:] = 0
    result = measure(chunk, recipe, inputs, timed)
    result.inputs = None
    return result


class Workers:
    """Processes that measure chunks, and embed them if the recipe has a model; a crash affects only the image that caused it.

    Args:
        recipe: everything that a process needs.
        count: number of processes.
        together: maximum number of images per chunk.
    """

    def __init__(self, recipe: Recipe, count: int, together: int) -> None:
        self._recipe, self._count, self._ahead = recipe, count, count * _CHUNKS_AHEAD_PER_WORKER
        # One more than the running chunks, for the chunk that the caller is reading.
        self._slots = _Slots(self._ahead + 1, together, recipe.preprocessing.input_size) if recipe.model is None else None
        self._clock = _Clock(self._ahead + 1, recipe.seconds)
        self._slow: set[int] = set()
        self._pool = _pool(recipe, count, self._slots, self._clock)

    def measure(self, chunks: Iterable[Chunk]) -> Iterator[Ingested]:
        """Measure chunks, in order; a chunk with an image that ended its worker is measured again image by image.

        If the workers do not embed, a chunk's inputs are valid only until the next chunk is requested.
        """
        ahead = iter(chunks)
        running: deque[tuple[Chunk, int, Future[Ingested] | None]] = deque()
        free = deque(range(self._ahead + 1))
        while True:
            for chunk in islice(ahead, self._ahead - len(running)):
                slot = free.popleft()
                running.append((chunk, slot, None if self._slow.intersection(chunk.rows.tolist()) else _submit(self._pool, _work, chunk, slot)))
            if not running:
                return
            chunk, slot, future = running.popleft()
            try:
                result = _isolate(chunk, self._recipe, self._slow) if future is None else future.result()
            except BrokenProcessPool:
                self.close()
                expired = self._clock.take_expired()
                self._slow |= expired
                ahead = chain([chunk] if expired else [], [other for other, _, _ in running], ahead)
                free.extend(slot for _, slot, _ in running)
                running.clear()
                if not expired:
                    yield _isolate(chunk, self._recipe, self._slow)
                self._pool = _pool(self._recipe, self._count, self._slots, self._clock)
            else:
                if self._slots is not None and future is not None:
                    result.inputs = self._slots[slot][: len(chunk.rows)]
                yield result
            free.append(slot)

    def close(self) -> None:
        """Stop the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _isolate(chunk: Chunk, recipe: Recipe, slow: Collection[int] = ()) -> Ingested:
    """Measure a chunk one image at a time, each in a process that may crash or be ended; rows in ``slow`` have timed out already.

    An image that crashes every attempt stays ``crashed`` until its file changes: a later scan of few images reads them in its own process, which the
    image would crash.
    """
    parts: list[Ingested] = []
    clock = _Clock(1, recipe.seconds)
    pool = _started(recipe, clock)
    timed_out = "timed_out", f"not decoded within {recipe.seconds:g} s"
    try:
        for row, ref in zip(chunk.rows.tolist(), chunk.source_refs, strict=True):
            single = Chunk(np.array([row]), [ref])
            if row in slow:
                parts.append(_failed(single, recipe, *timed_out))
                continue
            for _ in range(_TRIES_ALONE):
                try:
                    parts.append(_submit(pool, _work, single).result())
                    break
                except BrokenProcessPool:
                    pool.shutdown(wait=True)
                    expired = clock.take_expired()
                    time.sleep(0 if expired else _PAUSE_SECONDS)
                    pool = _started(recipe, clock)
                if expired:
                    parts.append(_failed(single, recipe, *timed_out))
                    break
            else:
                parts.append(_failed(single, recipe, "crashed", "decoding this file killed the decoding process"))
    finally:
        pool.shutdown(wait=True)
    return _joined(chunk.rows, parts)


def _started(recipe: Recipe, clock: _Clock) -> ProcessPoolExecutor:
    """Start a process for single images; raise AuditError if it cannot even start, for which no image is to blame."""
    for _ in range(_TRIES_ALONE):
        pool = _pool(recipe, 1, None, clock)
        try:
            _submit(pool, int).result()
        except BrokenProcessPool:
            pool.shutdown(wait=True)
            time.sleep(_PAUSE_SECONDS)
        else:
            return pool
    raise AuditError("scan", "worker processes crash before they read an image (out of memory?)", "see their output above")


def _joined(rows: npt.NDArray[np.int64], parts: Sequence[Ingested]) -> Ingested:
    inputs = [part.inputs for part in parts if part.inputs is not None]
    return Ingested(
        rows,
        [measured for part in parts for measured in part.measures],
        np.concatenate([part.thumbnails for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate(inputs) if inputs else None,
        np.concatenate([part.embeddings for part in parts]),
    )


def _failed(single: Chunk, recipe: Recipe, outcome: str, error: str) -> Ingested:
    row: dict[str, Any] = {"outcome": outcome, "error": error}
    with contextlib.suppress(Exception), at_most(recipe.max_bytes):
        data = recipe.source.read(single.source_refs[0])
        row |= {"content_id": hashlib.sha256(data).hexdigest(), "byte_size": len(data)}
    thumbnails, local = black(1, THUMBNAIL_SIDE), no_features(1)
    if recipe.model is None:
        return Ingested(single.rows, [row], thumbnails, local, black(1, recipe.preprocessing.input_size))
    return Ingested(single.rows, [row], thumbnails, local, None, np.full((1, recipe.model.dimension), np.nan, np.float16))


def _submit(pool: ProcessPoolExecutor, work: Callable[..., Any], *arguments: object) -> Future[Any]:
    """Submit work to a pool; if one of its processes has just died, return a failed future instead of raising."""
    try:
        return pool.submit(work, *arguments)
    except BrokenProcessPool as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _pool(recipe: Recipe, workers: int, slots: _Slots | None, clock: _Clock) -> ProcessPoolExecutor:
    context = process_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["audit.ingest.workers"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(recipe, slots, clock))

"""The processes in which images are read.

Worker processes read and decode. On a CPU each also runs the model on its own core, so that pixels never travel between processes; for a GPU they
leave the model's inputs in memory that they share with the parent, which embeds many at once. A worker that dies (a decoder crashing on hostile
bytes) costs only the image that killed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import DeviceEmbedder, Embedder
from audit.errors import AuditError
from audit.ingest.chunks import Chunk, Ingested, Recipe, black, embed, embed_together, measure
from audit.processes import available_cpus, begin_worker, process_context
from audit.tables import THUMBNAIL_SIDE

_CHUNKS_AHEAD_PER_WORKER = 2
"""Chunks decoded ahead of the model: enough that neither side waits, few enough that memory stays small."""

_TRIES_ALONE = 3
"""Processes that an image may kill before it is to blame: one may also be killed from outside, as where memory is short."""

_PAUSE_SECONDS = 1.0
"""Before an image that killed a process is read again: time for what is short of memory to give some back."""

_PROCESSES_PAY_FROM = 256
"""Below this many images, starting worker processes costs more than it saves."""


def ingest(
    chunks: Iterable[Chunk], images: int, recipe: Recipe, embedder: DeviceEmbedder | None, *, workers: int, together: int
) -> Iterator[Ingested]:
    """Read, decode, measure and embed chunks, in order.

    Args:
        chunks: what to read.
        images: how many images the chunks hold in all.
        recipe: the source, the model's preprocessing, limits, and the model where workers embed.
        embedder: the backbone on a GPU; None where workers embed.
        workers: decoding processes.
        together: the most images of a chunk.

    Yields:
        One result per chunk, each image with exactly one outcome.
    """
    if images < _PROCESSES_PAY_FROM:
        if embedder is not None:
            yield from embed_together((measure(chunk, recipe) for chunk in chunks), embedder)
        else:
            own = recipe.model.open(available_cpus()) if recipe.model is not None else None
            yield from (_ingest_one(chunk, recipe, own) for chunk in chunks)
        return
    with contextlib.closing(Workers(recipe, workers, together)) as processes:
        yield from processes.measure(chunks) if embedder is None else embed_together(processes.measure(chunks), embedder)


def _ingest_one(chunk: Chunk, recipe: Recipe, embedder: Embedder | None) -> Ingested:
    result = measure(chunk, recipe)
    return result if embedder is None else embed(result, embedder)


class _Slots:
    """Model inputs of the chunks under way, in memory that all processes see: through a pipe they would be copied five times.

    Args:
        count: chunks.
        images: the most of a chunk.
        side: of an input, in pixels.
    """

    def __init__(self, count: int, images: int, side: int) -> None:
        self._shape = count, images, side, side, 3
        # A file without a name, in memory where there is room: nothing is left of it, however the processes end.
        self._memory = RawArray("B", int(np.prod(self._shape)))

    def __getitem__(self, slot: int) -> npt.NDArray[np.uint8]:
        """Return a chunk's inputs, ``[images, side, side, 3]``."""
        inputs: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8).reshape(self._shape)[slot]
        return inputs


_worker: tuple[Recipe, Embedder | None, _Slots | None] | None = None  # a worker process's own; set once when it starts


def _start_worker(recipe: Recipe, slots: _Slots | None) -> None:
    import cv2

    global _worker  # noqa: PLW0603  a process pool hands constants to its workers in no other way
    begin_worker()
    cv2.setNumThreads(1)
    _worker = recipe, recipe.model.open(threads=1) if recipe.model is not None else None, slots


def _work(chunk: Chunk, slot: int | None = None) -> Ingested:
    if _worker is None:
        raise AssertionError("the worker was started without a recipe")
    recipe, embedder, slots = _worker
    if slots is None or slot is None:
        return _ingest_one(chunk, recipe, embedder)
    inputs = slots[slot][: len(chunk.rows)]
    inputs[:] = 0
    result = measure(chunk, recipe, inputs)
    result.inputs = None
    return result


class Workers:
    """Processes that measure chunks, each embedding too where the recipe holds a model; one that dies costs only the image that killed it.

    Args:
        recipe: what every process needs to know.
        count: how many processes.
        together: the most images of a chunk.
    """

    def __init__(self, recipe: Recipe, count: int, together: int) -> None:
        self._recipe, self._count, self._ahead = recipe, count, count * _CHUNKS_AHEAD_PER_WORKER
        # One more than are under way: that of the chunk that is looked at.
        self._slots = _Slots(self._ahead + 1, together, recipe.preprocessing.input_size) if recipe.model is None else None
        self._pool = _pool(recipe, count, self._slots)

    def measure(self, chunks: Iterable[Chunk]) -> Iterator[Ingested]:
        """Measure chunks, in order; a chunk that kills its worker is measured again image by image.

        Where the workers do not embed, a chunk's inputs stay what they are only until the next chunk is asked for.
        """
        ahead = iter(chunks)
        running: deque[tuple[Chunk, int, Future[Ingested]]] = deque()
        free = deque(range(self._ahead + 1))
        while True:
            for chunk in islice(ahead, self._ahead - len(running)):
                slot = free.popleft()
                running.append((chunk, slot, _submit(self._pool, _work, chunk, slot)))
            if not running:
                return
            chunk, slot, future = running.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                ahead = chain([other for other, _, _ in running], ahead)
                free.extend(slot for _, slot, _ in running)
                running.clear()
                self.close()
                yield _isolate(chunk, self._recipe)
                self._pool = _pool(self._recipe, self._count, self._slots)
            else:
                if self._slots is not None:
                    result.inputs = self._slots[slot][: len(chunk.rows)]
                yield result
            free.append(slot)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _isolate(chunk: Chunk, recipe: Recipe) -> Ingested:
    """Measure a chunk one image at a time, each in a process that may die.

    An image that killed all that tried stays ``crashed`` while its file stays what it is: a later scan, which reads few images, would read it in its
    own process, and die of it.
    """
    parts: list[Ingested] = []
    pool = _started(recipe)
    try:
        for row, ref in zip(chunk.rows, chunk.source_refs, strict=True):
            single = Chunk(np.array([row]), [ref])
            for _ in range(_TRIES_ALONE):
                try:
                    parts.append(_submit(pool, _work, single).result())
                    break
                except BrokenProcessPool:
                    pool.shutdown(wait=True)
                    time.sleep(_PAUSE_SECONDS)
                    pool = _started(recipe)
            else:
                parts.append(_crashed(single, recipe))
    finally:
        pool.shutdown(wait=True)
    return _joined(chunk.rows, parts)


def _started(recipe: Recipe) -> ProcessPoolExecutor:
    """Start a process for images alone: of one that cannot even start, no image is to blame."""
    for _ in range(_TRIES_ALONE):
        pool = _pool(recipe, 1)
        try:
            _submit(pool, int).result()
        except BrokenProcessPool:
            pool.shutdown(wait=True)
            time.sleep(_PAUSE_SECONDS)
        else:
            return pool
    raise AuditError("scan", "the processes that read images die before they read one", "see what they printed above; is memory short?")


def _joined(rows: npt.NDArray[np.int64], parts: Sequence[Ingested]) -> Ingested:
    inputs = [part.inputs for part in parts if part.inputs is not None]
    return Ingested(
        rows,
        [measured for part in parts for measured in part.measures],
        np.concatenate([part.thumbnails for part in parts]),
        np.concatenate(inputs) if inputs else None,
        np.concatenate([part.embeddings for part in parts]),
    )


def _crashed(single: Chunk, recipe: Recipe) -> Ingested:
    row: dict[str, Any] = {"outcome": "crashed", "error": "decoding this file killed the decoding process"}
    with contextlib.suppress(Exception):
        data = recipe.source.read(single.source_refs[0])
        row |= {"content_id": hashlib.sha256(data).hexdigest(), "byte_size": len(data)}
    thumbnails = black(1, THUMBNAIL_SIDE)
    if recipe.model is None:
        return Ingested(single.rows, [row], thumbnails, black(1, recipe.preprocessing.input_size))
    return Ingested(single.rows, [row], thumbnails, None, np.full((1, recipe.model.dimension), np.nan, np.float16))


def _submit(pool: ProcessPoolExecutor, work: Callable[..., Any], *arguments: object) -> Future[Any]:
    """Hand work to a pool; where one of its processes has just died, the work fails as it would had it died a moment later."""
    try:
        return pool.submit(work, *arguments)
    except BrokenProcessPool as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _pool(recipe: Recipe, workers: int, slots: _Slots | None = None) -> ProcessPoolExecutor:
    context = process_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["audit.ingest.workers"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(recipe, slots))

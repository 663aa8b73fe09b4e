"""Read each image once, decode it once, and take everything from that decode: hashes, measures, thumbnail and the model's input.

Worker processes read and decode. On a CPU each also runs the model on its own core, so that pixels never travel between processes; for a GPU they
hand the model's input to the parent. A worker that dies (a decoder crashing on hostile bytes) costs only the image that killed it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import Embedder, Preprocessing
from audit.backbones.runtime import OnnxModel
from audit.decode import Decoded, decode
from audit.errors import AuditError
from audit.known import KnownContents
from audit.measures import perceptual_hash, pixel_id, quality, thumbnail
from audit.processors import available_cpus, begin_worker, process_context
from audit.sources.base import Source
from audit.tables import THUMBNAIL_SIDE

_CHUNKS_AHEAD_PER_WORKER = 2
"""Chunks decoded ahead of the model: enough that neither side waits, few enough that memory stays small."""

KNOWN = "known"
"""Outcome of an image that was read but not decoded; only the content id of its row holds."""

_PROCESSES_PAY_FROM = 256
"""Below this many images, starting worker processes costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All a worker needs to know."""

    source: Source
    preprocessing: Preprocessing
    max_pixels: int
    model: OnnxModel | None
    """What each worker embeds with; None where the parent embeds."""
    known: KnownContents | None = None
    """Images that need no decoding, because what is measured of their bytes is stored."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some images to read: their rows and where their bytes are."""

    rows: npt.NDArray[np.int64]
    source_refs: Sequence[str]


@dataclass(slots=True)
class Ingested:
    """What became of a chunk, image by image, in the order of its rows."""

    rows: npt.NDArray[np.int64]
    measures: list[dict[str, Any]]
    """Columns of ``audit.tables.MEASURES``."""
    thumbnails: npt.NDArray[np.uint8]
    """``[m, side, side, 3]``; black where there is no image."""
    inputs: npt.NDArray[np.uint8] | None
    """``[m, s, s, 3]``; black where there is no image. None once embedded."""
    embeddings: npt.NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))
    """``[m, d]`` unit rows; NaN where there is no image."""


def ingest(chunks: Iterable[Chunk], images: int, recipe: Recipe, embedder: Embedder | None, *, workers: int) -> Iterator[Ingested]:
    """Read, decode, measure and embed chunks, in order.

    Args:
        chunks: what to read.
        images: how many images the chunks hold in all.
        recipe: the source, the model's preprocessing, limits, and the model where workers embed.
        embedder: the backbone on a GPU; None where workers embed.
        workers: decoding processes.

    Yields:
        One result per chunk, each image with exactly one outcome.
    """
    if images < _PROCESSES_PAY_FROM:
        own = recipe.model.open(available_cpus()) if recipe.model is not None else embedder
        yield from (_ingest_one(chunk, recipe, own) for chunk in chunks)
        return
    with contextlib.closing(Workers(recipe, workers)) as processes:
        for result in processes.measure(chunks):
            yield result if embedder is None else embed(result, embedder)


def _ingest_one(chunk: Chunk, recipe: Recipe, embedder: Embedder | None) -> Ingested:
    result = measure(chunk, recipe)
    return result if embedder is None else embed(result, embedder)


def embed(result: Ingested, embedder: Embedder) -> Ingested:
    """Embed a measured chunk in place; rows without an image are NaN."""
    if result.inputs is None:
        raise AssertionError("a chunk is embedded once")
    good = np.array([measured["outcome"] == "ok" for measured in result.measures], bool)
    taken = result.inputs if good.all() else result.inputs[good]
    vectors = embedder.embed(taken) if len(taken) else embedder.embed(result.inputs[:1])[:0]  # not every model takes an empty batch
    norms = np.linalg.norm(vectors, axis=1)
    result.embeddings = np.full((len(good), vectors.shape[1]), np.nan, np.float16)
    with np.errstate(divide="ignore", invalid="ignore"):
        result.embeddings[good] = vectors / norms[:, None]
    for row, norm in zip(np.flatnonzero(good), norms, strict=True):
        result.measures[row]["embedding_norm"] = float(norm)
    result.inputs = None
    return result


def measure(chunk: Chunk, recipe: Recipe) -> Ingested:
    """Read, decode and measure a chunk's images; never raises for what their bytes hold."""
    thumbnails, inputs = _blank(len(chunk.rows), recipe)
    measures = [_measure_one(ref, recipe, inputs[at], thumbnails[at]) for at, ref in enumerate(chunk.source_refs)]
    return Ingested(chunk.rows, measures, thumbnails, inputs)


def _measure_one(source_ref: str, recipe: Recipe, model_input: npt.NDArray[np.uint8], small: npt.NDArray[np.uint8]) -> dict[str, Any]:
    try:
        data = recipe.source.read(source_ref)
    except Exception as error:  # noqa: BLE001  storage libraries raise their own kinds; one unreadable file never ends a scan
        return {"outcome": "missing", "error": f"the bytes cannot be read: {' '.join(str(error).split())[:300] or type(error).__name__}"}
    content_id = hashlib.sha256(data).hexdigest()
    if recipe.known is not None and content_id in recipe.known:
        return {"outcome": KNOWN, "content_id": content_id}
    decoded = decode(data, max_pixels=recipe.max_pixels)
    row = {"content_id": content_id, **_facts(decoded, len(data))}
    if decoded.image is None:
        return row
    pixels = np.asarray(decoded.image)
    model_input[:] = recipe.preprocessing.prepare(decoded.image)
    small[:] = thumbnail(pixels)
    row["pixel_id"] = pixel_id(pixels)
    row["perceptual_hash"] = perceptual_hash(small)
    row.update(quality(pixels))
    return row


def _blank(count: int, recipe: Recipe) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return black thumbnails and model inputs."""
    side = recipe.preprocessing.input_size
    return np.zeros((count, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8), np.zeros((count, side, side, 3), np.uint8)


def _facts(decoded: Decoded, byte_size: int) -> dict[str, Any]:
    facts = decoded.facts
    return {
        "outcome": decoded.outcome,
        "error": decoded.error,
        "byte_size": byte_size,
        "format": facts.format,
        "mode": facts.mode,
        "width": facts.width,
        "height": facts.height,
        "frames": facts.frames,
        "orientation": facts.orientation,
        "has_alpha": facts.has_alpha,
        "exif_families": list(facts.exif_families),
        **facts.origin._asdict(),
    }


_worker: tuple[Recipe, Embedder | None] | None = None  # a worker process's own; set once when it starts


def _start_worker(recipe: Recipe) -> None:
    import cv2

    global _worker  # noqa: PLW0603  a process pool hands constants to its workers in no other way
    begin_worker()
    cv2.setNumThreads(1)
    _worker = recipe, recipe.model.open(threads=1) if recipe.model is not None else None


def _work(chunk: Chunk) -> Ingested:
    if _worker is None:
        raise AssertionError("the worker was started without a recipe")
    return _ingest_one(chunk, *_worker)


class Workers:
    """Processes that measure chunks, each embedding too where the recipe holds a model; one that dies costs only the image that killed it.

    Args:
        recipe: what every process needs to know.
        count: how many processes.
    """

    def __init__(self, recipe: Recipe, count: int) -> None:
        self._recipe, self._count = recipe, count
        self._pool = _pool(recipe, count)

    def measure(self, chunks: Iterable[Chunk]) -> Iterator[Ingested]:
        """Measure chunks, in order; a chunk that kills its worker is measured again image by image."""
        ahead = iter(chunks)
        running: deque[tuple[Chunk, Future[Ingested]]] = deque()
        while True:
            for chunk in islice(ahead, self._count * _CHUNKS_AHEAD_PER_WORKER - len(running)):
                running.append((chunk, self._pool.submit(_work, chunk)))
            if not running:
                return
            chunk, future = running.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                ahead = chain([other for other, _ in running], ahead)
                running.clear()
                self.close()
                yield _isolate(chunk, self._recipe)
                self._pool = _pool(self._recipe, self._count)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _isolate(chunk: Chunk, recipe: Recipe) -> Ingested:
    """Measure a chunk one image at a time, each in a process that may die."""
    parts: list[Ingested] = []
    pool = _pool(recipe, 1)
    try:
        _require_start(pool)
        for row, ref in zip(chunk.rows, chunk.source_refs, strict=True):
            single = Chunk(np.array([row]), [ref])
            try:
                parts.append(pool.submit(_work, single).result())
            except BrokenProcessPool:
                pool.shutdown(wait=True)
                pool = _pool(recipe, 1)
                parts.append(_crashed(single, recipe))
    finally:
        pool.shutdown(wait=True)
    return _joined(chunk.rows, parts)


def _require_start(pool: ProcessPoolExecutor) -> None:
    """Tell a process that dies of an image from one that cannot even start, of which no image is to blame."""
    try:
        pool.submit(int).result()
    except BrokenProcessPool:
        raise AuditError("scan", "the processes that read images die before they read one", "see what they printed above; is memory short?") from None


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
    thumbnails, inputs = _blank(1, recipe)
    if recipe.model is None:
        return Ingested(single.rows, [row], thumbnails, inputs)
    return Ingested(single.rows, [row], thumbnails, None, np.full((1, recipe.model.dimension), np.nan, np.float16))


def _pool(recipe: Recipe, workers: int) -> ProcessPoolExecutor:
    context = process_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["audit.ingest"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(recipe,))

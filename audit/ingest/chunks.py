"""Read and decode each image once, and derive everything from that decode: hashes, measures, thumbnail and the model's input.

`audit.ingest.workers` distributes the work over processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import CpuModel, DeviceEmbedder, Embedder, Preprocessing
from audit.errors import reason
from audit.images.decode import decode, has_many_parts
from audit.images.deep import Ranges
from audit.images.local_features import features
from audit.images.measures import perceptual_hash, pixel_id, quality, thumbnail
from audit.ingest.reuse import ReusableIds
from audit.sources.base import Source
from audit.sources.storage.files import DEFAULT_MAX_BYTES, TooLargeError, at_most
from audit.tables import FEATURE_BYTES, FEATURES, THUMBNAIL_SIDE

DEFAULT_SECONDS = 30.0

SLOW = "slow"
"""Outcome of an image that must be decoded in a process of its own."""

REUSABLE = "reusable"
"""Outcome of an image that was read but not decoded; its row has only a content id."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a worker needs."""

    source: Source
    preprocessing: Preprocessing
    max_pixels: int
    model: CpuModel | None
    """The model that each worker runs; None if the parent embeds."""
    reusable: ReusableIds | None = None
    """Images that need no decoding because their measurements are stored."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Larger files are not read."""
    seconds: float = DEFAULT_SECONDS
    """Time to decode and measure one image; more ends the process (outcome ``timed_out``)."""
    in_processes: bool = True
    """Whether this runs in a process that may be ended. If not, images that may be too slow get the outcome `SLOW`."""
    ranges: Ranges = field(default_factory=dict)
    """How deep values are scaled, by mode."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A batch of images to read: their rows and references."""

    rows: npt.NDArray[np.int64]
    source_refs: Sequence[str]


@dataclass(slots=True)
class Ingested:
    """The results of a chunk, in the order of its rows."""

    rows: npt.NDArray[np.int64]
    measures: list[dict[str, Any]]
    """Columns of ``audit.tables.MEASURES``."""
    thumbnails: npt.NDArray[np.uint8]
    """``[m, side, side, 3]``; black for failed images."""
    features: npt.NDArray[np.uint8]
    """``[m, FEATURES, FEATURE_BYTES]`` local features; zero for failed images."""
    inputs: npt.NDArray[np.uint8] | None
    """``[m, s, s, 3]``; black for failed images. None once embedded."""
    embeddings: npt.NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))
    """``[m, d]`` unit rows; NaN for failed images."""


def embed(result: Ingested, embedder: Embedder) -> Ingested:
    """Embed a measured chunk in place; rows of failed images are NaN."""
    inputs, good = _inputs(result), _good(result)
    taken = inputs if good.all() else inputs[good]
    return _embedded(result, good, embedder.embed(taken) if len(taken) else embedder.embed(inputs[:1])[:0])  # some models reject an empty batch


def embed_together(results: Iterable[Ingested], embedder: DeviceEmbedder) -> Iterator[Ingested]:
    """Embed measured chunks in batches of the device's preferred size; the next batch is filled while the device computes.

    Args:
        results: chunks; the inputs of each are read before the next is requested. None may have more images than the embedder's buffer.
        embedder: the backbone on a GPU.

    Yields:
        The same chunks, in order, embedded in place; rows of failed images are NaN.
    """
    buffer, other = embedder.buffer(), embedder.buffer()
    before: tuple[_Group, Future[npt.NDArray[np.float32]]] = [], Future()
    waiting: _Group = []
    filled = 0
    with ThreadPoolExecutor(1) as device:
        for result in results:
            good = _good(result)
            images = int(good.sum())
            if filled + images > len(buffer):
                now = waiting, device.submit(embedder.embed, buffer[:filled])
                yield from _divided(*before)
                before, waiting, filled = now, [], 0
                buffer, other = other, buffer
            np.compress(good, _inputs(result), axis=0, out=buffer[filled : filled + images])
            result.inputs = None
            waiting.append((result, good))
            filled += images
        now = waiting, device.submit(embedder.embed, buffer[: max(filled, 1)])  # some models reject an empty batch
        yield from _divided(*before)
        yield from _divided(*now)


_Group = list[tuple[Ingested, npt.NDArray[np.bool_]]]
"""Chunks embedded together, each with the mask of its decoded images."""


def _divided(group: _Group, vectors: Future[npt.NDArray[np.float32]]) -> Iterator[Ingested]:
    start = 0
    for result, good in group:
        end = start + int(good.sum())
        yield _embedded(result, good, vectors.result()[start:end])
        start = end


def _inputs(result: Ingested) -> npt.NDArray[np.uint8]:
    if result.inputs is None:
        raise AssertionError("the chunk is already embedded")
    return result.inputs


def _good(result: Ingested) -> npt.NDArray[np.bool_]:
    return np.array([measured["outcome"] == "ok" for measured in result.measures], bool)


def _embedded(result: Ingested, good: npt.NDArray[np.bool_], vectors: npt.NDArray[np.float32]) -> Ingested:
    norms = np.linalg.norm(vectors, axis=1)
    result.embeddings = np.full((len(good), vectors.shape[1]), np.nan, np.float16)
    with np.errstate(divide="ignore", invalid="ignore"):
        result.embeddings[good] = vectors / norms[:, None]
    for row, norm in zip(np.flatnonzero(good), norms, strict=True):
        result.measures[row]["embedding_norm"] = float(norm)
    result.inputs = None
    return result


def measure(
    chunk: Chunk,
    recipe: Recipe,
    inputs: npt.NDArray[np.uint8] | None = None,
    timed: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Ingested:
    """Read, decode and measure a chunk's images; never raises, even for corrupt or hostile bytes.

    Args:
        chunk: the images.
        recipe: how to read and measure them.
        inputs: ``[m, s, s, 3]``, black, filled with the model's inputs; None allocates a new array.
        timed: given a row, the context in which its image is decoded and measured.
    """
    thumbnails, local = black(len(chunk.rows), THUMBNAIL_SIDE), no_features(len(chunk.rows))
    inputs = black(len(chunk.rows), recipe.preprocessing.input_size) if inputs is None else inputs
    measures = []
    for at, (row, ref) in enumerate(zip(chunk.rows.tolist(), chunk.source_refs, strict=True)):
        data = _read(ref, recipe)
        if isinstance(data, bytes):
            with timed(row):
                data = _measure_one(data, recipe, inputs[at], thumbnails[at], local[at])
        measures.append(data)
    return Ingested(chunk.rows, measures, thumbnails, local, inputs)


def _read(source_ref: str, recipe: Recipe) -> bytes | dict[str, Any]:
    """Return an image's bytes, or its outcome if they cannot be read."""
    try:
        with at_most(recipe.max_bytes):
            return recipe.source.read(source_ref)
    except TooLargeError as error:
        return {"outcome": "too_large", "error": reason(error)}
    except Exception as error:  # noqa: BLE001  storage libraries raise their own types; one unreadable file never stops a scan
        return {"outcome": "missing", "error": f"the bytes cannot be read: {reason(error)}"}


def _measure_one(
    data: bytes, recipe: Recipe, model_input: npt.NDArray[np.uint8], small: npt.NDArray[np.uint8], local: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    content_id = hashlib.sha256(data).hexdigest()
    if recipe.reusable is not None and content_id in recipe.reusable:
        return {"outcome": REUSABLE, "content_id": content_id}
    if not recipe.in_processes and has_many_parts(data):
        return {"outcome": SLOW}
    decoded = decode(data, max_pixels=recipe.max_pixels, ranges=recipe.ranges)
    facts = dataclasses.asdict(decoded.facts)
    origin = facts.pop("origin")
    row = {"content_id": content_id, "outcome": decoded.outcome, "error": decoded.error, "byte_size": len(data), **facts, **origin._asdict()}
    if decoded.image is None:
        return row
    pixels = np.asarray(decoded.image)
    model_input[:] = recipe.preprocessing.prepare(decoded.image)
    small[:] = thumbnail(pixels)
    local[:] = features(pixels)
    row["pixel_id"] = pixel_id(pixels if decoded.stored is None else decoded.stored)
    row["perceptual_hash"] = perceptual_hash(small)
    row.update(quality(pixels))
    return row


def black(count: int, side: int) -> npt.NDArray[np.uint8]:
    """Return black images, ``[count, side, side, 3]``."""
    return np.zeros((count, side, side, 3), np.uint8)


def no_features(count: int) -> npt.NDArray[np.uint8]:
    """Return the local features of images that have none, ``[count, FEATURES, FEATURE_BYTES]``."""
    return np.zeros((count, FEATURES, FEATURE_BYTES), np.uint8)

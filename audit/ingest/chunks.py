"""Read each image once, decode it once, and take everything from that decode: hashes, measures, thumbnail and the model's input.

In which processes that happens: `audit.ingest.workers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import DeviceEmbedder, Embedder, Preprocessing
from audit.backbones.runtime import OnnxModel
from audit.images.decode import Decoded, decode
from audit.images.measures import perceptual_hash, pixel_id, quality, thumbnail
from audit.ingest.reuse import KnownContents
from audit.sources.base import Source
from audit.tables import THUMBNAIL_SIDE

KNOWN = "known"
"""Outcome of an image that was read but not decoded; only the content id of its row holds."""


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


def embed(result: Ingested, embedder: Embedder) -> Ingested:
    """Embed a measured chunk in place; rows without an image are NaN."""
    inputs, good = _inputs(result), _good(result)
    taken = inputs if good.all() else inputs[good]
    return _embedded(result, good, embedder.embed(taken) if len(taken) else embedder.embed(inputs[:1])[:0])  # not every model takes an empty batch


def embed_together(results: Iterable[Ingested], embedder: DeviceEmbedder) -> Iterator[Ingested]:
    """Embed measured chunks, as many images at once as the device likes; while it does, the next are gathered.

    Args:
        results: their inputs are read before the next is asked for. None may hold more images than the embedder's buffer.
        embedder: the backbone on a device of its own.

    Yields:
        The same, in order, embedded in place; rows without an image are NaN.
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
        now = waiting, device.submit(embedder.embed, buffer[: max(filled, 1)])  # not every model takes an empty batch
        yield from _divided(*before)
        yield from _divided(*now)


_Group = list[tuple[Ingested, npt.NDArray[np.bool_]]]
"""Chunks embedded together, each with which of its images there are."""


def _divided(group: _Group, vectors: Future[npt.NDArray[np.float32]]) -> Iterator[Ingested]:
    start = 0
    for result, good in group:
        end = start + int(good.sum())
        yield _embedded(result, good, vectors.result()[start:end])
        start = end


def _inputs(result: Ingested) -> npt.NDArray[np.uint8]:
    if result.inputs is None:
        raise AssertionError("a chunk is embedded once")
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


def measure(chunk: Chunk, recipe: Recipe, inputs: npt.NDArray[np.uint8] | None = None) -> Ingested:
    """Read, decode and measure a chunk's images; never raises for what their bytes hold.

    Args:
        chunk: the images.
        recipe: how.
        inputs: ``[m, s, s, 3]``, black, for the model's inputs; a new array where None.
    """
    thumbnails = black(len(chunk.rows), THUMBNAIL_SIDE)
    inputs = black(len(chunk.rows), recipe.preprocessing.input_size) if inputs is None else inputs
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


def black(count: int, side: int) -> npt.NDArray[np.uint8]:
    """Return black images, ``[count, side, side, 3]``."""
    return np.zeros((count, side, side, 3), np.uint8)


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

"""Search the run for images most similar to an uploaded image or to a text."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones import embedder_of, text_tower
from audit.errors import BackboneError
from audit.run.run import Run, open_run
from dashboard.state import stamp

if TYPE_CHECKING:
    from audit.backbones import Embedder, EncodeText, Preprocessing

_ROWS_AT_ONCE = 65_536


def embed(run: Run, data: bytes) -> npt.NDArray[np.float32] | None:
    """Return an image's embedding by the run's backbone, float32 ``[d]`` of length 1; None if it cannot be decoded.

    Args:
        run: a finished run.
        data: the image file's bytes.

    Raises:
        BackboneError: the backbone's weights are not on this machine; nothing is downloaded.
    """
    from audit.images.decode import decode

    image = decode(data).image
    if image is None:
        return None
    preprocessing, embedder = model_of(run)
    found = embedder.embed(preprocessing.prepare(image.convert("RGB"))[None])[0]
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32)


def most_similar(
    embeddings: npt.NDArray[np.float16], query: npt.NDArray[np.float32], limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the rows most similar to a query and their cosine similarities, most similar first, ties by row.

    Args:
        embeddings: float16 ``[n, d]``, rows of length 1, NaN for failed images; read in blocks.
        query: float32 ``[d]`` of length 1.
        limit: maximum number of rows.
    """
    similarity = np.concatenate(
        [np.nan_to_num(embeddings[at : at + _ROWS_AT_ONCE].astype(np.float32) @ query, nan=-2.0) for at in range(0, len(embeddings), _ROWS_AT_ONCE)]
        or [np.empty(0, np.float32)]
    )
    least = np.partition(similarity, -limit)[-limit] if len(similarity) > limit else -2.0
    rows = np.flatnonzero((similarity >= least) & (similarity > -2))  # argpartition would choose among equal ones differently on different processors
    rows = rows[np.argsort(-similarity[rows], kind="stable")][:limit]
    return rows, similarity[rows].astype(np.float32)


def encode(run: Run, text: str) -> npt.NDArray[np.float32]:
    """Return a text's embedding by the run's backbone, float32 ``[d]`` of length 1.

    Raises:
        BackboneError: the backbone has no text tower, or its weights are not on this machine; nothing is downloaded.
    """
    found = _text_tower(run.path, stamp(run))([text])[0]
    return np.asarray(found, np.float32)


def model_of(run: Run) -> tuple[Preprocessing, Embedder]:
    """Return the run's backbone; the last one is cached."""
    return _model(run.path, stamp(run))


@lru_cache(maxsize=1)
def _model(path: Path, changed: int) -> tuple[Preprocessing, Embedder]:
    del changed
    return embedder_of(open_run(path).record)


@lru_cache(maxsize=1)
def _text_tower(path: Path, changed: int) -> EncodeText:
    del changed
    record = open_run(path).record
    found = text_tower(record)
    if found is None:
        raise BackboneError(str(record["backbone"]["name"]), "the backbone has no text tower", "scan with --backbone clip")
    return found

"""Fill a run with the images that no earlier scan of it stored: read all, decode those whose bytes are not known, and store as the work goes on."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.engines import Engine, Job
from audit.errors import of_an_interrupt
from audit.ingest.chunks import REUSABLE, Ingested
from audit.ingest.reuse import ReuseIndex
from audit.ingest.staging import Staging
from audit.io.progress import Observer

_BATCHES_PER_SEGMENT = 16
"""Batches stored at a time; a killed scan loses less than this much work, an interrupted one none."""


def read_images(job: Job, engine: Engine, staging: Staging, index: ReuseIndex, observer: Observer) -> int:
    """Read a job's images and store what is measured of them.

    Args:
        job: the images.
        engine: reads them.
        staging: stores their rows.
        index: earlier measurements of the same bytes.
        observer: told of each image.

    Returns:
        How many images had to be decoded.
    """
    seen = _read(dataclasses.replace(job, reusable=index.ids if len(index) else None), engine, staging, observer)
    if not len(seen.rows):
        return len(job.rows)
    lost = np.ones(len(seen.rows), bool)
    for at, found in index.take(seen.content_ids, observer.note):
        staging.store_reused(seen.rows[at], found)
        lost[at] = False
    found_before = int(len(lost) - lost.sum())
    observer.note(f"{found_before} of {len(job.rows)} images have bytes that were measured before: read, not decoded")
    if lost.any():
        again = np.flatnonzero(np.isin(job.rows, seen.rows[lost]))
        _read(dataclasses.replace(job, rows=job.rows[again], source_refs=job.source_refs.take(pa.array(again))), engine, staging, observer)
    return len(job.rows) - found_before


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    rows: npt.NDArray[np.int64]
    content_ids: pa.Array


def _read(job: Job, engine: Engine, staging: Staging, observer: Observer) -> _Seen:
    """Store what had to be decoded; return the rows whose bytes are known."""
    parts: list[Ingested] = []
    rows: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    ids: list[str] = []
    try:
        for part in engine.ingest(job, observer.note):
            known = np.array([measured["outcome"] == REUSABLE for measured in part.measures], bool)
            rows.append(part.rows[known])
            ids.extend(measured["content_id"] for measured in part.measures if measured["outcome"] == REUSABLE)
            parts.append(_fresh(part, ~known))
            if len(parts) == _BATCHES_PER_SEGMENT:
                _store(parts, staging)
                parts = []
            observer.advance(len(part.rows))
    except BaseException as error:
        if of_an_interrupt(error):
            _store(parts, staging)
        raise
    _store(parts, staging)
    return _Seen(np.concatenate(rows), pa.array(ids, pa.string()))


def _fresh(part: Ingested, chosen: npt.NDArray[np.bool_]) -> Ingested:
    if chosen.all():
        return part
    measures = [measured for measured, wanted in zip(part.measures, chosen, strict=True) if wanted]
    return Ingested(part.rows[chosen], measures, part.thumbnails[chosen], None, part.embeddings[chosen])


def _store(parts: list[Ingested], staging: Staging) -> None:
    filled = [part for part in parts if len(part.rows)]
    if filled:
        staging.store(filled)

"""Ingest: read, measure and embed every listed image that no earlier scan has measured."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.engines import Engine, Job
from audit.errors import of_an_interrupt
from audit.images.deep import Ranges
from audit.ingest.chunks import REUSABLE, Ingested
from audit.ingest.listing import listing_key
from audit.ingest.reuse import Measurements, ReuseIndex
from audit.ingest.staging import FILES, INGEST_PLAN, Staging, finished_ingest, publish
from audit.io.artifacts import filling, read_json, read_table, release
from audit.io.blocks import blocks
from audit.io.progress import Observer
from audit.pipeline.stage import LABEL_EMBEDDINGS, Scan, Stage
from audit.run.record import as_json, key_of
from audit.run.tables import open_rows, read_samples
from audit.sources.storage.files import DEFAULT_MAX_BYTES, MISSING
from audit.tables import LISTING, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from audit.backbones import Backbone
    from audit.backbones.runtime import Placement
    from audit.config import ScanOptions
    from audit.ingest.reuse import Store
    from audit.ingest.vectors import Vectors

_MEASURES_VERSION = 9
"""Increased by hand when decoding or measuring changes its result for the same bytes: stored rows are then measured again.

Not a digest of the code, as in later stages: a digest changes with every comment, and each change would decode all images again, which takes hours at
ImageNet's size, and would make shared caches useless. Later stages read no images.
"""

_BATCHES_PER_SEGMENT = 16
"""Batches stored at a time: a killed scan loses less than these, an interrupted one nothing."""


class Ingest(Stage):
    """Measures and embeds the images."""

    name = "ingest"
    files = FILES

    def key(self, scan: Scan) -> str:
        """Return a digest of the listing, the backbone and how images are decoded."""
        return key_of(listing_key(scan.listing), scan.plan)

    def is_current(self, scan: Scan, key: str | None) -> bool:
        """Return False also where listed images could not be read: a network or a share was down, and may be up again."""
        plan = scan.run / INGEST_PLAN
        if not super().is_current(scan, key) or "counts" not in scan.record.content or not plan.is_file() or read_json(plan) != scan.plan:
            return False
        samples = read_samples(scan.run, len(scan.listing), ["outcome", "fingerprint"])
        unreachable = pc.and_(pc.equal(samples["outcome"], "missing"), pc.not_equal(samples["fingerprint"], MISSING))
        return not pc.any(unreachable).as_py()

    def run(self, scan: Scan) -> dict[str, object]:
        """Read the images, decode those with new content, and write samples, embeddings and thumbnails."""
        record, observer = scan.record, scan.observer
        record.is_sound(*self.files)  # else damaged rows would be reused
        record.save()
        cached = scan.cache.stores(observer.note) if scan.cache is not None else ()
        staging, read, decoded = _filled(scan, scan.run, scan.backbone, cached, vectors=scan.vectors)
        record.begin(self)
        record.content["counts"] = _counts(staging.finish())
        return {"read": read, "decoded": decoded}


class LabelEmbeddings(Stage):
    """Embeds the images with extra backbones, and stores all embeddings side by side for label predictions.

    Each extra backbone reads and decodes the images again, into a folder of its own that resumes and is reused like the run's.
    """

    name = "label_embeddings"
    files = (LABEL_EMBEDDINGS,)

    def key(self, scan: Scan) -> str | None:
        """Return a digest of the embeddings and the extra backbones; None if there are none."""
        return key_of(scan.state("ingest")["key"], [extra.plan for extra in scan.extra]) if scan.extra else None

    def run(self, scan: Scan) -> dict[str, object] | None:
        """Write ``state/label-embeddings.npy``; remove what an earlier scan with more backbones left."""
        folders = [scan.run / "state" / f"backbone-{number}" for number, _ in enumerate(scan.extra, 2)]
        for folder in set((scan.run / "state").glob("backbone-*")) - {*folders}:
            shutil.rmtree(folder)
        if not scan.extra:
            (scan.run / LABEL_EMBEDDINGS).unlink(missing_ok=True)
            return None
        scan.record.rely_on("embeddings.npy")
        rows = len(scan.listing)
        for folder, extra in zip(folders, scan.extra, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            publish(folder)
            if not (folder / INGEST_PLAN).is_file() or read_json(folder / INGEST_PLAN) != extra.plan or not _same_images(folder, scan.listing):
                scan.observer.note(f"extra backbone {extra.backbone.name}: the images are read again")
                _filled(scan, folder, extra.backbone, (), placement=extra.placement, plan=extra.plan)[0].finish()
        parts = [open_rows(folder, "embeddings", rows) for folder in (scan.run, *folders)]
        scan.record.begin(self)
        with filling(scan.run / LABEL_EMBEDDINGS, (rows, sum(part.shape[1] for part in parts)), np.float16) as into:
            for block in blocks(np.arange(rows), into.shape[1]):
                into[block] = np.concatenate([part[block] for part in parts], axis=1)
                release(into, *parts)
        return {"dimensions": [part.shape[1] for part in parts]}


def _same_images(folder: Path, listing: pa.Table) -> bool:
    """Return whether an extra backbone's folder has the images of the listing."""
    held = read_table(folder / "samples.parquet", columns=LISTING.names)
    return listing_key(held.cast(LISTING)) == listing_key(listing)


def _filled(
    scan: Scan,
    folder: Path,
    backbone: Backbone,
    cached: Iterable[Store],
    *,
    placement: Placement | None = None,
    plan: dict[str, Any] | None = None,
    vectors: Vectors | None = None,
) -> tuple[Staging, int, int]:
    """Measure and embed the images that no earlier scan has; return the filled staging area and how many were read and decoded."""
    listing, observer, options = scan.listing, scan.observer, scan.options
    plan, placement = plan or scan.plan, placement or scan.placement
    key = listing_key(listing)
    staging = Staging(folder, listing, plan=plan, listing_key=key, dimension=backbone.dimension, vectors=vectors, note=observer.note)
    missing = staging.missing_rows()
    earlier = len(listing) - len(missing) + (staging.adopt(missing) if len(missing) else 0)
    if earlier:
        observer.note(f"{earlier:,} of {len(listing):,} images are known from an earlier scan")
        missing = staging.missing_rows()
    decoded = 0
    if len(missing):
        observer.stage("images", len(missing))
        refs = listing["source_ref"].take(pa.array(missing))
        of_images = options.max_pixels, options.batch_size, options.workers
        job = Job(scan.source, backbone, placement, *of_images, missing, refs, ranges=plan.get("ranges", {}))
        job = dataclasses.replace(job, max_bytes=options.max_bytes, seconds=options.seconds_per_image)
        decoded = read_images(job, scan.engine, staging, ReuseIndex([*staging.stores(), *cached], staging.path / "known.npy"), observer)
    return staging, len(missing), decoded


class Cache(Stage):
    """Adds the images to the cache; leaves nothing in the run directory."""

    name = "cache"
    files = ()

    def run(self, scan: Scan) -> None:
        """Add the images that the cache lacks."""
        if scan.cache is None:
            return
        samples = read_samples(scan.run, len(scan.listing))
        images = finished_ingest(scan.run, samples)

        def sound_rows(positions: npt.NDArray[np.int64]) -> Measurements:
            scan.record.rely_on("embeddings.npy", "thumbnails.npy", "features.npy")
            return images.rows(positions)

        if added := scan.cache.add(samples, sound_rows, scan.observer.note):
            scan.observer.note(f"cache {scan.options.cache}: {added:,} images added")


def measuring_plan(backbone: Backbone, placement: Placement, options: ScanOptions, ranges: Ranges) -> dict[str, Any]:
    """Return what an image's row depends on besides its bytes."""
    plan: dict[str, Any] = as_json(
        {
            "measures": _MEASURES_VERSION,
            "weights": backbone.weights_id,
            "preprocessing": dataclasses.asdict(backbone.preprocessing),
            "placement": dataclasses.asdict(placement),
            "max_pixels": options.max_pixels,
            # Only another limit changes the plan, so that earlier rows stay valid.
            **({} if options.max_bytes == DEFAULT_MAX_BYTES else {"max_bytes": options.max_bytes}),
            **({"ranges": ranges} if ranges else {}),
        }
    )
    return plan


def _counts(samples: pa.Table) -> dict[str, Any]:
    """Count the outcomes; every listed image must have one."""
    found = {entry["values"]: entry["counts"] for entry in samples["outcome"].value_counts().to_pylist()}
    outcomes = {outcome: found.get(outcome, 0) for outcome in OUTCOMES}
    if sum(outcomes.values()) != len(samples):
        raise AssertionError(f"{len(samples)} images are listed but {sum(outcomes.values())} have a known outcome")
    return {"listed": len(samples), "scanned": outcomes["ok"], "failed": len(samples) - outcomes["ok"], "outcomes": outcomes}


def read_images(job: Job, engine: Engine, staging: Staging, index: ReuseIndex, observer: Observer) -> int:
    """Read a job's images, reuse earlier measures of the same bytes, and store the rows.

    Args:
        job: the images.
        engine: what reads them.
        staging: where their rows are stored.
        index: earlier measures by content.
        observer: receives the progress.

    Returns:
        The number of decoded images.
    """
    rows, content_ids = _read(dataclasses.replace(job, reusable=index.ids if len(index) else None), engine, staging, observer)
    if not len(rows):
        return len(job.rows)
    lost = np.ones(len(rows), bool)
    for at, found in index.take(content_ids, observer.note):
        staging.store_reused(rows[at], found)
        lost[at] = False
    found_before = int(len(lost) - lost.sum())
    observer.note(f"Reused {found_before:,} of {len(job.rows):,} measurements (same content as before)")
    if lost.any():
        again = np.flatnonzero(np.isin(job.rows, rows[lost]))
        _read(dataclasses.replace(job, rows=job.rows[again], source_refs=job.source_refs.take(pa.array(again))), engine, staging, observer)
    return len(job.rows) - found_before


def _read(job: Job, engine: Engine, staging: Staging, observer: Observer) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Store the rows that were decoded; return those whose bytes are known, and their content ids."""
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
    return np.concatenate(rows), pa.array(ids, pa.string())


def _fresh(part: Ingested, chosen: npt.NDArray[np.bool_]) -> Ingested:
    if chosen.all():
        return part
    measures = [measured for measured, wanted in zip(part.measures, chosen, strict=True) if wanted]
    return Ingested(part.rows[chosen], measures, part.thumbnails[chosen], part.features[chosen], None, part.embeddings[chosen])


def _store(parts: list[Ingested], staging: Staging) -> None:
    filled = [part for part in parts if len(part.rows)]
    if filled:
        staging.store(filled)

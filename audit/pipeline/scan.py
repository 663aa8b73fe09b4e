"""A scan: the stages in order, each done once, continued where a killed scan stopped, and skipped while its inputs stay the same."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audit.backbones import Choice, choose
from audit.config import ScanOptions
from audit.engines import Engine, Job, open_engine
from audit.errors import ConfigError
from audit.images.faces import require_detector
from audit.images.previews import make
from audit.ingest.listing import list_samples, listing_key
from audit.ingest.reuse import Measurements, ReuseIndex
from audit.ingest.staging import INGEST_PLAN, EarlierIngest, Staging, finished_ingest, publish
from audit.io.artifacts import read_json, sweep, to_frame
from audit.io.progress import SILENT, Observer
from audit.pipeline import stages
from audit.pipeline.checks import run_checks, wanted_checks
from audit.pipeline.code_digest import code_digest
from audit.pipeline.ingest import read_images
from audit.pipeline.run_folder import dataset_of, locked, note_outdated_reports, open_record, refuse_inside, refuse_other_things
from audit.predictions.user import refuse_predictions
from audit.run.identity import identities
from audit.run.record import FILES, DamagedError, Record, digest_of, key_of
from audit.run.run import Run
from audit.run.tables import read_pairs, read_samples
from audit.sources import Source, open_source
from audit.sources.storage.faults import readable
from audit.sources.storage.files import MISSING, network_forbidden, require_reachable
from audit.tables import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from audit.checks import Check

_MEASURES_VERSION = 5
"""Counts up when decode or measures change what they give for the same bytes: stored rows are then measured anew.

Counted by hand, where later stages go by a digest of their code: a digest changes with every comment, and would have every image read and decoded
again, hours at ImageNet's size, and what shared caches hold would be of no use to anybody. Later stages need no image.
"""

_PREVIEWS_SHARE = 0.04
"""Of a scan's time, given to previews of the worst it found: all of them where the dataset is large, the rest when they are looked at."""


def scan(source: str | Path, out: str | Path, *, options: ScanOptions | None = None, observer: Observer = SILENT) -> Run:
    """Audit a dataset.

    Args:
        source: a folder, tar, manifest, Parquet file, shard pattern or fsspec URL; see ``docs/sources.md``.
        out: the run directory; made where it is missing. One that holds a run is brought up to date: only what changed is done.
        options: what to do and how; the defaults where None.
        observer: told of the progress.

    Returns:
        The finished run.

    Raises:
        AuditError: something a person can mend: the source, an option, a backbone, the run directory.
        OSError: the disk is full or the run directory not writable.
    """
    options = options or ScanOptions()
    with network_forbidden(forbidden=options.offline):
        return _scan(source, Path(out), options, observer)


def _scan(source: str | Path, run: Path, options: ScanOptions, observer: Observer) -> Run:
    began = time.perf_counter()
    if options.cache is not None:
        require_reachable(options.cache, error=ConfigError, where=f"--cache {options.cache}")
    dataset = open_source(str(source), options.source)
    if options.predictions is not None:
        refuse_predictions(options.predictions)
    if options.faces:
        require_detector()
    checks = wanted_checks(options)
    refuse_inside(run, str(source))
    refuse_other_things(run)
    with locked(run), open_engine(options) as engine:
        for folder in (run, *(run / name for name in ("state", "scores", "findings"))):
            sweep(folder)
        record = open_record(run, observer.note)
        held = dataset_of(record.content)
        before = _work_done(record)
        publish(run)
        observer.stage("listing", None)
        listing, problems = list_samples(dataset, observer.advance)
        for problem in problems:
            observer.note(problem.message)
        choice = _choose(options, record)
        record.content |= {
            "version": version("imagenet-audit"),
            "source": {
                "kind": dataset.kind,
                "location": dataset.location,
                "absolute": _absolute(dataset),
                "ignored": dict(getattr(dataset, "ignored", {})),
                "problems": [problem.as_json() for problem in problems],
            },
            "options": _public(options),
            **_about_classes(dataset, listing, options),
        }
        if held not in (None, _absolute(dataset)):
            observer.note(f"{run} holds the run of {held}: it becomes that of {_absolute(dataset)}")
        while True:
            try:
                samples = to_frame(_ingest(run, dataset, listing, choice, options, engine, record, observer))
                _account(samples, record)
                _after_ingest(run, samples, checks, options, engine, record, observer, dataset=dataset)
            except DamagedError:
                continue  # each time a file less is there to be damaged, and what is made anew is sound
            break
        idle = _work_done(record) == before
        if idle:
            observer.note("nothing has changed since the last scan: its findings stand")
        record.finish(None if idle else time.perf_counter() - began)
        note_outdated_reports(run, _found_at(record) if idle else time.time(), observer.note)
        observer.stage("previews", None)
        make(Run(run), source=dataset, seconds=_PREVIEWS_SHARE * (time.perf_counter() - began), advance=observer.advance)
    return Run(run)


def _work_done(record: Record) -> str:
    """Return a digest of what stages and checks have done so far: equal before and after a scan that had nothing to do."""
    return key_of(record.content["stages"], record.content.get("checks"))


def _ingest(
    run: Path,
    dataset: Source,
    listing: pa.Table,
    choice: Choice,
    options: ScanOptions,
    engine: Engine,
    record: Record,
    observer: Observer,
) -> pa.Table:
    backbone = choice.backbone
    placement = engine.place(device=options.device, precision=options.precision)
    plan = {
        "measures": _MEASURES_VERSION,
        "weights": backbone.weights_id,
        "preprocessing": dataclasses.asdict(backbone.preprocessing),
        "placement": dataclasses.asdict(placement),
        "max_pixels": options.max_pixels,
    }
    plan = _as_json(plan)
    record.content["backbone"] = {
        "name": backbone.name,
        "weights_id": backbone.weights_id,
        "input_size": backbone.preprocessing.input_size,
        "dimension": backbone.dimension,
        "licence": backbone.licence,
        "source": backbone.source,
        "has_text_tower": backbone.build_text is not None,
        "asked": options.backbone,
        "reason": choice.reason,
        **dataclasses.asdict(placement),
    }
    observer.note(f"backbone {backbone.name} on {placement.device} in {placement.precision}: {choice.reason}")
    cache = None
    if options.cache is not None:
        from audit.ingest.cache import ImageCache

        cache = ImageCache(options.cache, plan=plan, dimension=backbone.dimension)
    key = listing_key(listing)
    stage_key = key_of(key, plan)
    samples = _unchanged(run, plan, len(listing)) if record.done("ingest", stage_key) else None
    if samples is None:
        began = time.perf_counter()
        for name in FILES["ingest"]:
            record.is_sound(name)  # else its rows would be taken over
        record.save()
        staging = Staging(run, listing, plan=plan, listing_key=key, dimension=backbone.dimension, note=observer.note)
        missing = staging.missing_rows()
        earlier = len(listing) - len(missing) + (staging.adopt(missing) if len(missing) else 0)
        if earlier:
            observer.note(f"{earlier} of {len(listing)} images are known from an earlier scan")
            missing = staging.missing_rows()
        decoded = 0
        if len(missing):
            observer.stage("images", len(missing))
            refs = listing["source_ref"].take(pa.array(missing))
            job = Job(dataset, backbone, placement, options.max_pixels, options.batch_size, options.workers, missing, refs)
            stores = [*staging.stores(), *(cache.stores(observer.note) if cache is not None else ())]
            decoded = read_images(job, engine, staging, ReuseIndex(stores, staging.path / "known.npy"), observer)
        record.begin("ingest")
        samples = staging.finish()
        record.end("ingest", stage_key, time.perf_counter() - began, read=len(missing), decoded=decoded)
    if cache is not None and (added := cache.add(samples, _sound_rows(record, finished_ingest(run, samples)), observer.note)):
        observer.note(f"cache {options.cache}: {added} images added")
    return samples


def _sound_rows(record: Record, images: EarlierIngest) -> Callable[[npt.NDArray[np.int64]], Measurements]:
    """Return what takes rows of a finished ingest, once its arrays are known to be sound: only what is to be added needs that."""

    def rows(positions: npt.NDArray[np.int64]) -> Measurements:
        record.rely_on("embeddings.npy", "thumbnails.npy")
        return images.rows(positions)

    return rows


def _unchanged(run: Path, plan: dict[str, Any], rows: int) -> pa.Table | None:
    """Return the samples that an earlier scan measured by the same plan; None where they are not all there or may now be read better."""
    if not (run / INGEST_PLAN).is_file() or read_json(run / INGEST_PLAN) != plan:
        return None
    samples = read_samples(run, rows)
    return None if _may_be_back(samples) else samples


def _after_ingest(
    run: Path,
    samples: pd.DataFrame,
    checks: dict[str, Check],
    options: ScanOptions,
    engine: Engine,
    record: Record,
    observer: Observer,
    *,
    dataset: Source | None = None,
) -> None:
    embedded = key_of(record.content["backbone"]["weights_id"], digest_of(identities(samples)), record.content["backbone"]["precision"])
    measured = key_of(record.content["stages"]["ingest"]["key"])

    neighbors_key = key_of(embedded, options.neighbors, options.seed, code_digest(stages.SEARCH))
    if not record.done("neighbors", neighbors_key):
        began = time.perf_counter()
        facts = stages.find_neighbors(run, samples, record, neighbors_key, options, engine, observer)
        record.end("neighbors", neighbors_key, time.perf_counter() - began, **facts)

    pairs_key = key_of(neighbors_key, measured, options.min_precision, code_digest("audit.pairs.pairs"))
    if not record.done("pairs", pairs_key):
        began = time.perf_counter()
        facts = stages.find_pairs(run, samples, record, options, observer)
        record.end("pairs", pairs_key, time.perf_counter() - began, **facts)

    from audit.checks import Missing

    classes = sorted({*samples["label"].dropna(), *samples["labels"].dropna().explode().dropna()})
    record.content["classes"] = classes
    pairs = to_frame(read_pairs(run, len(samples)))
    why_not = _why_no_predictions(samples, pairs, classes, own=options.predictions is not None)
    predictions_key = key_of(pairs_key, classes, stages.predictions_plan(options))
    still_hold = why_not is None and record.done("predictions", predictions_key)
    if why_not is None and not any({"predictions", "label_quality"} & set(check.needs) for check in checks.values()):
        why_not = "no check that was asked for needs predictions"
    predictions: Any = Missing(why_not) if why_not else None
    if why_not:
        if options.predictions is not None:
            observer.note(f"--predictions is not used: {why_not}")
        if not still_hold:
            record.forget("predictions")
    elif not still_hold:
        began = time.perf_counter()
        facts = stages.predict(run, samples, pairs, classes, options, record, observer)
        record.end("predictions", predictions_key, time.perf_counter() - began, **facts)
    for warning in record.content["stages"].get("predictions", {}).get("warnings", ()):
        observer.note(f"predictions: {warning}")
    faces_key = _find_faces(run, samples, dataset if options.faces and "faces" in checks else None, options, record, observer)
    shown = [*(record.content[name] for name in ("class_words", "taxonomy")), record.content["source"]["problems"]]
    run_checks(run, samples, checks, predictions, options, record, (key_of(pairs_key, predictions_key, why_not, shown), faces_key), observer)


def _find_faces(run: Path, samples: pd.DataFrame, dataset: Source | None, options: ScanOptions, record: Record, observer: Observer) -> str | None:
    """Look for faces in the images of a dataset, and return what they were made from; None where nobody asks."""
    plan = code_digest("audit.images.faces")
    key = key_of(plan, digest_of(identities(samples)))
    done = record.done("faces", key)
    if not done and dataset is None:
        record.forget("faces")
    elif not done and dataset is not None:
        began = time.perf_counter()
        facts = stages.find_faces(run, samples, dataset, plan, record, options, observer)
        record.end("faces", key, time.perf_counter() - began, **facts)
    return None if dataset is None else key


def _why_no_predictions(samples: pd.DataFrame, pairs: pd.DataFrame, classes: list[str], *, own: bool) -> str | None:
    if not classes:
        return "no labels in this dataset"
    several = samples["labels"].notna()
    if len(classes) == 1:
        return f"all labelled images are of one class, {classes[0]!r}"
    if own:
        return None
    embedded = (samples["outcome"] == "ok") & (samples["label"].notna() | several)
    groups = pd.Series(stages.fold_groups(len(samples), pairs))[embedded]
    if several.any():
        return "all labelled images are copies of one another" if groups.nunique() < 2 else None
    pictures = groups.groupby(samples["label"][embedded]).nunique()
    if (pictures >= 2).sum() < 2:
        return "fewer than two classes have two different pictures, and a class is judged by its other pictures"
    return None


def _choose(options: ScanOptions, record: Record) -> Choice:
    """Choose the backbone; ``auto`` stays with the one this run has, so that a hub that comes and goes does not mix two models' embeddings."""
    had = record.content.get("backbone", {})
    if options.backbone == "auto" and options.checkpoint is None and had.get("asked") == "auto":
        kept = choose(had["name"], offline=options.offline)
        return dataclasses.replace(kept, reason=had["reason"])
    return choose(options.backbone, checkpoint=options.checkpoint, offline=options.offline)


def _may_be_back(samples: pa.Table) -> bool:
    """Return whether images that could not be read were there when they were listed: a network or a share was down, and may be up again."""
    lost = pc.and_(pc.equal(samples["outcome"], "missing"), pc.not_equal(samples["fingerprint"], MISSING))
    return bool(pc.any(lost).as_py())


def _about_classes(dataset: Source, listing: pa.Table, options: ScanOptions) -> dict[str, Any]:
    """Return words for the labels that are used, alone or among several, and what lies above them."""
    from audit.sources.annotations.taxonomy_files import find_taxonomy

    several = pc.list_flatten(listing["labels"])
    labels = sorted({*pc.unique(listing["label"]).drop_null().to_pylist(), *pc.unique(several).drop_null().to_pylist()})
    with readable(dataset.location):
        words = dict(dataset.class_words(labels))
    taxonomy = find_taxonomy(options.source.taxonomy_file, dataset.location, set(labels))
    return {"class_words": words, "taxonomy": dataclasses.asdict(taxonomy)}


def _account(samples: pd.DataFrame, record: Record) -> None:
    """Every listed image has one outcome, and the run says how many have which."""
    found = samples["outcome"].value_counts()
    outcomes = {outcome: int(found.get(outcome, 0)) for outcome in OUTCOMES}
    listed = len(samples)
    if sum(outcomes.values()) != listed:
        raise AssertionError(f"{listed} images are listed but {sum(outcomes.values())} have a known outcome")
    record.content["counts"] = {"listed": listed, "scanned": outcomes["ok"], "failed": listed - outcomes["ok"], "outcomes": outcomes}


def _found_at(record: Record) -> float:
    """Return when the last scan that had anything to do ended, in seconds since the epoch; 0 for runs of older versions, which do not say."""
    said = record.content.get("finished_at")
    return 0.0 if said is None else datetime.fromisoformat(said).timestamp()


def _absolute(dataset: Source) -> str:
    return dataset.location if "://" in dataset.location else str(Path(dataset.location).absolute())


def _public(options: ScanOptions) -> dict[str, Any]:
    """Options as JSON, without what may hold secrets."""
    content: dict[str, Any] = _as_json(dataclasses.asdict(options))
    content["source"].pop("storage_options", None)
    return content


def _as_json(content: Any) -> Any:
    import json

    return json.loads(json.dumps(content, default=str))

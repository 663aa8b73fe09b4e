"""A scan: a list of stages, each run once, resumed after a kill, and skipped while its inputs are unchanged."""

from __future__ import annotations

import dataclasses
import time
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from audit.backbones import Choice, choose
from audit.backbones.names import split_names
from audit.backbones.runtime import Placement
from audit.config import ScanOptions
from audit.engines import Engine, open_engine
from audit.errors import BackboneError, ConfigError
from audit.images.faces import require_detector
from audit.images.previews import make
from audit.ingest.cache import ImageCache
from audit.ingest.deep_values import of_ranges, survey_ranges
from audit.ingest.listing import list_samples
from audit.ingest.staging import publish
from audit.ingest.vectors import load_vectors, refuse_vectors
from audit.ingest.verification import verified
from audit.io.artifacts import sweep
from audit.io.console import counted
from audit.io.progress import SILENT, Observer
from audit.pipeline.checks import FOLDERS, Checks, wanted_checks
from audit.pipeline.faces import Faces
from audit.pipeline.finetuning import fine_tuned, refuse_unsuitable
from audit.pipeline.ingest import Cache, Ingest, LabelEmbeddings, measuring_plan
from audit.pipeline.neighbors import Neighbors
from audit.pipeline.pairs import Pairs
from audit.pipeline.predictions import Predictions, notes
from audit.pipeline.run_folder import dataset_of, locked, note_outdated_reports, open_record, refuse_inside, refuse_other_things
from audit.pipeline.stage import ExtraBackbone, Scan, Stage
from audit.predictions.user import refuse_predictions
from audit.run import previous
from audit.run.record import DamagedError, Record, as_json, key_of
from audit.run.run import Run
from audit.run.scanned_datasets import PRIVATE, remember
from audit.sources import Source, open_source
from audit.sources.annotations.grouping import Grouping
from audit.sources.annotations.taxonomy_files import find_taxonomy
from audit.sources.storage.faults import readable
from audit.sources.storage.files import network_forbidden, require_reachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from audit.backbones import Backbone
    from audit.checks import Check

STAGES: tuple[Stage, ...] = (Ingest(), Cache(), LabelEmbeddings(), Neighbors(), Pairs(), Predictions(fine_tuned), Faces(), Checks())

_NO_MODEL = Placement("none", "cpu", "float32")
"""Where the user's embeddings were computed is not known."""

_PREVIEWS_SHARE = 0.04
"""Share of a scan's time spent on previews of the worst findings; others are made when they are first shown."""


def scan(
    source: str | Path, out: str | Path, *, options: ScanOptions | None = None, observer: Observer = SILENT, baseline: Path | None = None
) -> Run:
    """Audit a dataset.

    Args:
        source: a folder, tar, manifest, Parquet file, shard pattern or fsspec URL; see ``docs/sources.md``.
        out: the run directory, created if missing. An existing run is updated: only what changed is computed.
        options: what to do and how; the defaults if None.
        observer: receives the progress.
        baseline: the run of the version before: label reports on unchanged images stay as they are there, unless they clearly change. By default,
            ``out`` before this scan.

    Returns:
        The finished run.

    Raises:
        AuditError: something the user can fix: the source, an option, a backbone, the run directory.
        OSError: the disk is full or the run directory is not writable.
    """
    options = options or ScanOptions()
    with network_forbidden(forbidden=options.offline):
        return _scan(source, Path(out), options, observer, baseline)


def _scan(source: str | Path, run: Path, options: ScanOptions, observer: Observer, baseline: Path | None) -> Run:
    began = time.perf_counter()
    if options.cache is not None:
        require_reachable(options.cache, error=ConfigError, where=f"--cache {options.cache}")
    dataset = open_source(str(source), options.source)
    if options.predictions is not None:
        refuse_predictions(options.predictions)
    if options.embeddings is not None:
        refuse_vectors(options.embeddings)
    if options.faces:
        require_detector()
    checks = wanted_checks(options)
    refuse_inside(run, str(source))
    refuse_other_things(run)
    with locked(run), open_engine(options) as engine:
        for folder in (run, *(run / name for name in ("state", *FOLDERS))):
            sweep(folder)
        record = open_record(run, observer.note)
        before = _work_done(record)
        publish(run)
        remember(_absolute(dataset), options.source)
        prepared = dataclasses.replace(_prepared(run, dataset, checks, options, engine, record, observer), baseline=baseline)
        if previous.keep(run):
            record.save()
        finished = _run_stages(prepared)
        for note in notes(finished):
            observer.note(note)
        idle = _work_done(record) == before
        if idle:
            observer.note("nothing has changed since the last scan: its findings are still valid")
        record.finish(None if idle else time.perf_counter() - began)
        previous.forget(run)
        note_outdated_reports(run, _found_at(record) if idle else time.time(), observer.note)
        observer.stage("previews", None)
        make(Run(run), source=dataset, seconds=_PREVIEWS_SHARE * (time.perf_counter() - began), advance=observer.advance)
    return Run(run)


def _prepared(
    run: Path, dataset: Source, checks: Mapping[str, Check], options: ScanOptions, engine: Engine, record: Record, observer: Observer
) -> Scan:
    """List the dataset, choose the backbone, and describe both in the record."""
    held = dataset_of(record.content)
    observer.stage("listing", None)
    listing, problems = list_samples(dataset, observer.advance, Grouping(options.source.group_column, options.source.group_pattern))
    for problem in problems:
        observer.note(problem.message)
    if not options.trust_mtime:
        observer.stage("verifying", None)
        listing, replaced = verified(listing, run, dataset, observer.advance)
        if replaced:
            observer.note(f"{counted(replaced, 'file')} changed without a change of size and modification time; read again")
    ranges = survey_ranges(dataset, listing, options.max_pixels)
    vectors = None if options.embeddings is None else load_vectors(options.embeddings, listing["sample_id"].to_pylist())
    if vectors is not None and vectors.unknown:
        observer.note(f"{vectors.file}: {vectors.unknown:,} rows are for images that the dataset lacks; they are ignored")
    choices = _choose(options, record) if vectors is None else [Choice(backbone=vectors.backbone(), reason="--embeddings")]
    placed = []
    for choice in choices:
        placement = _NO_MODEL if vectors is not None else _placed(engine, choice.backbone, options, record, observer)
        observer.note(f"backbone {choice.backbone.name} on {placement.device} in {placement.precision}: {choice.reason}")
        plan = measuring_plan(choice.backbone, placement, options, ranges)
        placed.append(ExtraBackbone(backbone=choice.backbone, placement=placement, plan=plan))
    (choice, *_), (first, *extra) = choices, placed
    if options.predict == "finetune":
        refuse_unsuitable(first.backbone)
    classes = _labels(listing)
    record.content |= {
        "version": version("imagenet-audit"),
        "source": {
            "kind": dataset.kind,
            "location": dataset.location,
            "absolute": _absolute(dataset),
            "ignored": dict(getattr(dataset, "ignored", {})),
            "problems": [problem.as_json() for problem in (*problems, *of_ranges(ranges))],
            "ranges": ranges,
        },
        "options": _public(options),
        "backbone": _about_backbone(choice, first.placement, options),
        "extra_backbones": [{"name": one.backbone.name, "weights_id": one.backbone.weights_id, **one.plan["placement"]} for one in extra],
        "classes": classes,
        **_about_classes(dataset, classes, options),
    }
    if held not in (None, _absolute(dataset)):
        observer.note(f"{run} held the run of {held}; replacing it with the run of {_absolute(dataset)}")
    return Scan(
        run=run,
        source=dataset,
        listing=listing,
        classes=classes,
        options=options,
        checks=checks,
        backbone=first.backbone,
        placement=first.placement,
        plan=first.plan,
        extra=tuple(extra),
        vectors=vectors,
        cache=None if options.cache is None else ImageCache(options.cache, plan=first.plan, dimension=first.backbone.dimension),
        engine=engine,
        record=record,
        observer=observer,
    )


def _run_stages(scan: Scan) -> Scan:
    """Run the stages in order, from the first again each time a damaged file is removed. Returns the scan with the tables it has read."""
    while True:
        try:
            for stage in STAGES:
                run_stage(stage, scan)
        except DamagedError:
            scan = dataclasses.replace(scan)  # without the tables it has read
        else:
            return scan


def run_stage(stage: Stage, scan: Scan) -> None:
    """Run a stage unless its files are current. Raises DamagedError if a file of an earlier stage is damaged."""
    key = stage.key(scan)
    if stage.is_current(scan, key):
        return
    began = time.perf_counter()
    facts = stage.run(scan)
    if key is None or facts is None:
        scan.record.forget(stage)
    else:
        scan.record.end(stage, key, time.perf_counter() - began, **facts)


def _work_done(record: Record) -> str:
    """Return a digest of what stages and checks have done; a scan that had nothing to do leaves it unchanged."""
    return key_of(record.content["stages"], record.content.get("checks"))


def _choose(options: ScanOptions, record: Record) -> list[Choice]:
    """Choose the backbones; ``auto`` keeps the run's own, so that a hub that comes and goes does not mix two models' embeddings."""
    had = record.content.get("backbone", {})
    if options.backbone == "auto" and options.checkpoint is None and had.get("asked") == "auto" and had["reason"] != "--embeddings":
        kept = choose(had["name"], offline=options.offline)
        return [dataclasses.replace(kept, reason=had["reason"])]
    return [choose(name, checkpoint=options.checkpoint, offline=options.offline) for name in split_names(options.backbone)]


def _placed(engine: Engine, backbone: Backbone, options: ScanOptions, record: Record, observer: Observer) -> Placement:
    """Choose where a backbone runs; ``auto`` keeps the precision of the run's embeddings, so that a new measurement does not embed all again."""
    had, asked = record.content.get("backbone", {}), record.content.get("options", {}).get("precision")
    if options.precision == asked == "auto" and had.get("weights_id") == backbone.weights_id:
        with suppress(BackboneError):
            return engine.place(backbone, device=options.device, precision=str(had["precision"]), note=observer.note)
    return engine.place(backbone, device=options.device, precision=options.precision, note=observer.note)


def _about_backbone(choice: Choice, placement: Placement, options: ScanOptions) -> dict[str, Any]:
    backbone = choice.backbone
    return {
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


def _labels(listing: pa.Table) -> list[str]:
    """Return all labels, given alone or among several, sorted."""
    columns = (listing["label"], pc.list_flatten(listing["labels"]))
    return sorted({label for column in columns for label in pc.unique(column).drop_null().to_pylist()})


def _about_classes(dataset: Source, classes: list[str], options: ScanOptions) -> dict[str, Any]:
    """Return words for the classes and the taxonomy above them."""
    with readable(dataset.location):
        words = dict(dataset.class_words(classes))
    taxonomy = find_taxonomy(options.source.taxonomy_file, dataset.location, set(classes))
    return {"class_words": words, "taxonomy": dataclasses.asdict(taxonomy)}


def _found_at(record: Record) -> float:
    """Return when the last scan that had anything to do ended, in seconds since the epoch; 0 for runs of older versions, which lack it."""
    finished_at = record.content.get("finished_at")
    return 0.0 if finished_at is None else datetime.fromisoformat(finished_at).timestamp()


def _absolute(dataset: Source) -> str:
    return dataset.location if "://" in dataset.location else str(Path(dataset.location).absolute())


def _public(options: ScanOptions) -> dict[str, Any]:
    """Return the options as JSON, without what may hold secrets."""
    content: dict[str, Any] = as_json(dataclasses.asdict(options))
    for name in PRIVATE:
        content["source"].pop(name, None)
    return content

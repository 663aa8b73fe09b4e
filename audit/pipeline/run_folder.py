"""The run directory: outside the dataset, without other files, locked by one scan at a time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit.errors import RunError, SourceError
from audit.ingest.staging import INGEST_PLAN
from audit.io.artifacts import read_json, refuse_links
from audit.run.record import Record
from audit.run.record_schema import damage, schema_version
from audit.run.report_formats import report_formats
from audit.run.run import RECORD
from audit.tables import SCHEMA_VERSION

_LOCK = ".lock"


def refuse_inside(run: Path, source: str) -> None:
    """Refuse a run directory inside the dataset. Raises SourceError."""
    if "://" in source or not Path(source).is_dir():
        return
    folder = Path(os.path.realpath(source))
    if Path(os.path.realpath(run)).is_relative_to(folder):
        raise SourceError(run, "the run directory is inside the dataset", "choose an --out elsewhere: a scan never writes into the dataset")


def refuse_other_things(run: Path) -> None:
    """Refuse a folder with other files or links before anything is written; `open_record` examines locked folders. Raises RunError."""
    if run.is_dir():
        refuse_links(run)
    if run.is_dir() and not any((run / name).exists() for name in (_LOCK, RECORD, INGEST_PLAN)) and any(run.iterdir()):
        raise RunError(run, "is not empty and holds no run", "choose a new or empty folder with --out")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Create and lock the run directory. Raises RunError if another scan holds the lock."""
    from filelock import FileLock, Timeout

    if run.exists() and not run.is_dir():
        raise RunError(run, "is a file, not a folder", "choose a new or empty folder with --out")
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / _LOCK)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise RunError(run, "another scan is writing into it", "wait for that scan, or choose another --out") from None


def open_record(run: Path, note: Callable[[str], None]) -> Record:
    """Return the content of ``run.json``, marked as not finished; a new record if there is none.

    Args:
        run: the run directory.
        note: receives a line for each file that is found corrupt.

    Raises:
        RunError: a newer version wrote the run, its record is corrupt, or the folder holds other files.
    """
    path = run / RECORD
    content = {"schema_version": SCHEMA_VERSION, "stages": {}, "timings": {}, "files": {}}
    if path.is_file():
        before = read_json(path)
        found = schema_version(before)
        if found is None:
            raise RunError(path, "not the record of a run: it has no schema_version", "choose a new or empty folder with --out")
        if found > SCHEMA_VERSION:
            newer = f"written by a newer version (schema {found}; this version writes {SCHEMA_VERSION})"
            raise RunError(run, newer, "update imagenet-audit, or choose another --out")
        problem = damage(before, required=())
        if problem is not None:
            raise RunError(path, f"corrupt: {problem}", "delete this file and scan again")
        content |= before
    elif not (run / INGEST_PLAN).is_file() and any(entry.name != _LOCK for entry in run.iterdir()):
        raise RunError(run, "is not empty and holds no run", "choose a new or empty folder with --out")
    content["finished"] = False
    return Record(path, content, note)


def dataset_of(record: Mapping[str, Any]) -> str | None:
    """Return the location of the dataset that a run's record is about; None if the record has none yet."""
    source = record.get("source", {})
    location: str | None = source.get("absolute", source.get("location"))
    return location


def refuse_other_dataset(run: Path, source: Path) -> None:
    """Refuse a folder with the run of another dataset. Raises RunError."""
    if not (run / RECORD).is_file():
        return
    held = dataset_of(open_record(run, lambda _: None).content)
    if held not in (None, str(source.absolute())):
        raise RunError(run, f"holds the run of {held}", "choose another --out")


def note_outdated_reports(run: Path, found_at: float, note: Callable[[str], None]) -> None:
    """Note reports in the run directory that are older than its findings. They are kept: people may have edited them.

    Args:
        run: the run directory.
        found_at: time of the findings, in seconds since the epoch.
        note: receives a line for each report, with the command that updates it.
    """
    for name, known in report_formats().items():
        file = known.file
        if (run / file).is_file() and (run / file).stat().st_mtime < found_at:
            again = f"imagenet-audit report {shlex.quote(str(run))}{'' if name == 'html' else f' --format {name}'}"
            note(f"{run / file} is older than this run's findings and may contradict them; update it with: {again}")

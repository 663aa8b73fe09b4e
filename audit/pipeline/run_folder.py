"""The folder a run is written into: held by one scan at a time, holding nothing else, outside the dataset."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit.errors import RunError, SourceError
from audit.ingest.staging import INGEST_PLAN
from audit.io.artifacts import read_json
from audit.run.record import Record
from audit.run.record_schema import damage, schema_version
from audit.run.report_formats import report_formats
from audit.run.run import RECORD
from audit.tables import SCHEMA_VERSION

_LOCK = ".lock"


def refuse_inside(run: Path, source: str) -> None:
    """A run inside the scanned folder would write into the dataset."""
    if "://" in source or not Path(source).is_dir():
        return
    folder, place = Path(os.path.realpath(source)), Path(os.path.realpath(run))
    if folder == place or folder in place.parents:
        raise SourceError(run, "the run directory lies inside the dataset", "name an --out elsewhere: a scan never writes into the dataset")


def refuse_other_things(run: Path) -> None:
    """Refuse a folder that holds other things before anything is written into it; a lock shows that a scan was here, and is looked behind."""
    if run.is_dir() and not any((run / name).exists() for name in (_LOCK, RECORD, INGEST_PLAN)) and any(run.iterdir()):
        raise RunError(run, "is not empty and holds no run", "name a new or empty folder with --out")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory: two scans into one would overwrite each other."""
    from filelock import FileLock, Timeout

    if run.exists() and not run.is_dir():
        raise RunError(run, "is a file, not a folder", "name a new or empty folder with --out")
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / _LOCK)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise RunError(run, "another scan is writing into it", "wait for that scan, or name another --out") from None


def open_record(run: Path, note: Callable[[str], None]) -> Record:
    """Return what ``run.json`` holds, no longer finished; a new record where there is none.

    Args:
        run: the run directory.
        note: told of files that were damaged since they were written.

    Raises:
        RunError: a newer version made the run, its record is damaged, or the folder holds other things.
    """
    path = run / RECORD
    content = {"schema_version": SCHEMA_VERSION, "stages": {}, "timings": {}, "files": {}}
    if path.is_file():
        before = read_json(path)
        found = schema_version(before)
        if found is None:
            raise RunError(path, "is no record of a run: it has no schema_version", "name a new or empty folder with --out")
        if found > SCHEMA_VERSION:
            raise RunError(
                run, f"made by a newer version (schema {found}; this version writes {SCHEMA_VERSION})", "update imagenet-audit, or name another --out"
            )
        damaged = damage(before, required=())
        if damaged is not None:
            raise RunError(path, f"damaged: {damaged}", "delete this file and scan again")
        content |= before
    elif not (run / INGEST_PLAN).is_file() and any(entry.name != _LOCK for entry in run.iterdir()):
        raise RunError(run, "is not empty and holds no run", "name a new or empty folder with --out")
    content["finished"] = False
    return Record(path, content, note)


def dataset_of(record: Mapping[str, Any]) -> str | None:
    """Return the place of the dataset that a run's record is about; None where it has come to none yet."""
    source = record.get("source", {})
    place: str | None = source.get("absolute", source.get("location"))
    return place


def refuse_other_dataset(run: Path, source: Path) -> None:
    """Refuse a folder that holds the run of another dataset. Raises RunError."""
    if not (run / RECORD).is_file():
        return
    held = dataset_of(open_record(run, lambda _: None).content)
    if held not in (None, str(source.absolute())):
        raise RunError(run, f"holds the run of {held}", "name another --out")


def note_outdated_reports(run: Path, found_at: float, note: Callable[[str], None]) -> None:
    """Tell of reports in the run's folder that are older than what the run holds. They stay: people may have edited them.

    Args:
        run: the run directory.
        found_at: when what it holds was found, in seconds since the epoch.
        note: told of each, with the command that writes it anew.
    """
    for name, known in report_formats().items():
        file = known.file
        if (run / file).is_file() and (run / file).stat().st_mtime < found_at:
            again = f"imagenet-audit report {shlex.quote(str(run))}{'' if name == 'html' else f' --format {name}'}"
            note(f"{run / file} is older than this run's findings and may contradict them; write it anew with: {again}")

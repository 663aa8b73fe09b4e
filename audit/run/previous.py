"""Keep the finished version of a run readable while a scan updates it, and after such a scan was killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from audit.io.artifacts import read_json, write_json

FOLDER = "previous"
"""Where a run keeps the files of its last finished version until the next one is finished."""

_INCOMPLETE = "previous.partial"
RECORD = "run.json"


def keep(run: Path) -> bool:
    """Keep the finished version of a run, as hard links where the file system has them: a scan replaces files and never writes into them.

    A version that is kept already stays: a scan that was killed has changed the other files since.

    Args:
        run: the run directory, before the scan has changed its tables.

    Returns:
        Whether the run was finished; the caller must now record that it is not.
    """
    record = read_json(run / RECORD) if (run / RECORD).is_file() else {}
    if not record.get("finished"):
        return False
    forget(run)
    for name in record.get("files", {}):
        if not name.startswith("state/") and (run / name).is_file():
            copy = run / _INCOMPLETE / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(run / name, copy)
            except OSError:
                shutil.copy2(run / name, copy)
    (run / _INCOMPLETE).mkdir(exist_ok=True)
    write_json(run / _INCOMPLETE / RECORD, record)
    (run / _INCOMPLETE).rename(run / FOLDER)
    return True


def forget(run: Path) -> None:
    """Remove the kept version. It is renamed first: a half-removed one would be read."""
    incomplete = run / _INCOMPLETE
    shutil.rmtree(incomplete, ignore_errors=True)
    if (run / FOLDER).exists():
        (run / FOLDER).rename(incomplete)
        shutil.rmtree(incomplete, ignore_errors=True)


def tables_of(run: Path) -> Path:
    """Return the folder with the last finished version of a run: its own, or the kept one while a scan updates it."""
    kept = run / FOLDER
    if (kept / RECORD).is_file() and (run / RECORD).is_file():
        record = read_json(run / RECORD)
        if isinstance(record, Mapping) and not record.get("finished", True):
            return kept
    return run

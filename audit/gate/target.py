"""Decide whether a path is a run or a dataset, and refuse a mix of both: a run placed next to images would be checked instead of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import RunError
from audit.io.artifacts import refuse_links
from audit.sources.storage.names import is_image
from audit.sources.tar import ENDINGS

if TYPE_CHECKING:
    from audit.run.run import Run

_DATA_SUFFIXES = (*ENDINGS, ".parquet", ".arrow", ".gz", ".zip", ".npz", ".mat", ".h5", ".hdf5", ".tfrecord")
"""Suffixes of tables, archives and arrays that may contain images."""

_RUN_FILE = re.compile(
    r"(?:previous(?:\.partial)?/|state/backbone-\d+/)?(samples|pairs|faces|label_quality|findings/\w+)\.parquet"
    r"|(?:state/backbone-\d+/)?unfinished[a-z-]*/(listing|samples|segments/[^/]+)\.parquet"
    r"|previews/[0-9a-f]{64}\.jpg|state/[\w-]+\.npz"
)
"""Images and tables that belong to a run; see ``docs/run-format.md``."""


def given_run(source: str) -> Run | None:
    """Open a run; return None for a dataset. Raises RunError if it cannot be opened, or also contains images, tables or archives."""
    from audit import open_run
    from audit.run.run import RECORD

    if not (Path(source) / RECORD).is_file():
        return None
    foreign = _foreign_file(source)
    if foreign is not None:
        problem = f"contains {RECORD}, like a run, and {foreign}, which is not part of a run"
        raise RunError(source, problem, f"remove {RECORD} if this is a dataset, else remove the other file")
    return open_run(source)


def _foreign_file(folder: str) -> str | None:
    """Return the first file that may belong to a dataset, relative to the folder."""
    refuse_links(Path(folder))
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if (is_image(path) or path.lower().endswith(_DATA_SUFFIXES)) and not _RUN_FILE.fullmatch(path):
                return path
    return None

"""A place that may be a run or a dataset: which it is, and that it is not both, or a run put beside the images would stand for them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import RunError
from audit.sources.storage.names import is_image
from audit.sources.tar import ENDINGS

if TYPE_CHECKING:
    from audit.run.run import Run

_OTHERS = (*ENDINGS, ".parquet", ".arrow", ".gz", ".zip")
"""Endings of tables and archives that hold images."""

_OWN = re.compile(
    r"(samples|pairs|faces|label_quality|findings/\w+|unfinished[a-z-]*/(listing|samples|segments/[^/]+))\.parquet|previews/[0-9a-f]{64}\.jpg"
)
"""What a run itself holds of images and tables; see ``docs/run-format.md``."""


def given_run(source: str) -> Run | None:
    """Open the run that a place is; None where it is a dataset.

    Raises:
        RunError: the run cannot be opened, or its folder also holds images, tables or archives that no scan writes there.
    """
    from audit import open_run
    from audit.run.run import RECORD

    if not (Path(source) / RECORD).is_file():
        return None
    strange = _no_part_of_a_run(source)
    if strange is not None:
        problem = f"holds a {RECORD}, as a run does, and {strange}, which is no part of one"
        raise RunError(source, problem, f"take {RECORD} out where it is a dataset, else the other file")
    return open_run(source)


def _no_part_of_a_run(folder: str) -> str | None:
    """Return the first file that may be a dataset's, relative to the folder; links are followed, as a scan follows them."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        whole = os.path.realpath(place)
        if whole in seen:  # links can lead in circles
            folders.clear()
            continue
        seen.add(whole)
        folders.sort()
        for name in sorted(names):
            path = (Path(place) / name).relative_to(folder).as_posix()
            if (is_image(path) or path.lower().endswith(_OTHERS)) and not _OWN.fullmatch(path):
                return path
    return None

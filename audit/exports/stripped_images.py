"""Copies of the images without metadata, in another folder. The dataset itself is never touched."""

from __future__ import annotations

import posixpath
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.errors import AuditError
from audit.exports.base import write_frame
from audit.exports.metadata_removal import Refused, without_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.run.run import Run

ENDINGS = ("",)


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write a copy of every image that could be read, whatever was decided of it, below ``out``, under the names of `copy_names`.

    Images that failed in the scan, and those of which no lossless copy can be made, are listed, each with its reason, in ``<out>-refused.csv`` beside
    the folder; copies that are not called like their image in ``<out>-names.csv``.
    """
    del actions
    source = run.source()
    _refuse_unsafe(run, source.location, out)
    samples = run.columns("sample_id", "source_ref", "outcome", "error")
    names = copy_names(samples["sample_id"].tolist(), source.location)
    out.mkdir(exist_ok=True)
    before, after, failed = 0, 0, 0
    copied: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    for name, (sample_id, source_ref, outcome, error) in zip(names, samples.itertuples(index=False), strict=True):
        if outcome != "ok":
            left_out.append((sample_id, f"{outcome}: {error}" if error else outcome))
            failed += 1
            continue
        try:
            data = source.read(source_ref)
            clean = without_metadata(data)
            _write_new(out / name, clean)
        except (Refused, OSError, ValueError) as reason:  # ValueError: no file's name holds a null byte
            left_out.append((sample_id, " ".join(str(reason).split())))
            continue
        before, after = before + len(data), after + len(clean)
        copied.append((sample_id, name))
    renamed = [pair for pair in copied if pair[0] != pair[1]]
    for place, columns, rows in ((refusals(out), ["sample_id", "reason"], left_out), (new_names(out), ["sample_id", "copy"], renamed)):
        if rows:
            write_frame(pd.DataFrame(rows, columns=columns), place)
    told = {"images": len(copied), "failed": failed, "refused": len(left_out) - failed, "renamed": len(renamed)}
    return {**told, "bytes_removed": before - after}


def refusals(out: Path) -> Path:
    """Return the file that lists what was left out of a folder, and why."""
    return out.with_name(f"{out.name}-refused.csv")


def new_names(out: Path) -> Path:
    """Return the file that lists copies that are not called like their image."""
    return out.with_name(f"{out.name}-names.csv")


def copy_names(sample_ids: Sequence[str], location: str) -> list[str]:
    """Return a path below the target folder for each image, no two the same and none that leads out of it.

    An image keeps its sample id without ``.`` and ``..``. Where some lie elsewhere (absolute paths, ``../x``, URLs), all are called by their whole
    path without the folder that all share. What is still called alike is numbered.

    Args:
        sample_ids: paths of images, relative to the dataset, absolute, or URLs.
        location: of the dataset.

    >>> copy_names(["img/../img/1.jpg", "2.jpg"], "/data")
    ['img/1.jpg', '2.jpg']
    >>> copy_names(["/data/cat/1.jpg", "../2.jpg"], "/data/lists/all.csv")
    ['cat/1.jpg', '2.jpg']
    """
    names = [posixpath.normpath(name) for name in sample_ids]
    if any(name in (".", "..") or name.startswith(("/", "../")) or "://" in whole for name, whole in zip(names, sample_ids, strict=True)):
        base = posixpath.dirname(_rooted(location if "://" in location else str(Path(location).absolute())))
        whole_paths = [posixpath.normpath(posixpath.join(base, _rooted(name) if "://" in name else name)) for name in sample_ids]
        shared = posixpath.commonpath([posixpath.dirname(path) for path in whole_paths])
        names = [posixpath.relpath(path, shared) for path in whole_paths]
    taken, seen = set(names), set[str]()
    for at, name in enumerate(names):
        if name in seen:
            stem, ending = posixpath.splitext(name)
            names[at] = next(other for number in count(2) if (other := f"{stem}-{number}{ending}") not in taken)
            taken.add(names[at])
        seen.add(name)
    return names


def _rooted(place: str) -> str:
    """Return a path or URL as an absolute path; URLs by their protocol and host."""
    return "/" + place.replace("://", "/", 1).lstrip("/")


def _refuse_unsafe(run: Run, location: str, out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise AuditError(out, "is not empty", "name a new folder")
    for place in (refusals(out), new_names(out)):
        if place.exists():
            raise AuditError(out, f"has the list of an earlier export beside it, {place.name}", "name a new folder")
    whole = out.resolve()
    for place, what in ((Path(location), "the dataset"), (run.path, "the run")):
        if place.exists() and place.is_dir() and (whole == place.resolve() or place.resolve() in whole.parents):
            raise AuditError(out, f"lies inside {what}", "name a folder elsewhere")


def _write_new(place: Path, data: bytes) -> None:
    """Write one copy; it never replaces another one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.write(data)

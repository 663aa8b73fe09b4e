"""Copies of the images without metadata, in another folder. The dataset itself does not change."""

from __future__ import annotations

import posixpath
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.errors import AuditError, reason
from audit.exports.base import write_frame
from audit.exports.metadata_removal import Refused, without_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.run.run import Run

ENDINGS = ("",)


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write a copy of every decodable image below ``out``, under the names of `copy_names`; decisions do not matter.

    ``<out>-refused.csv`` next to the folder lists the images that failed in the scan or cannot be copied without loss, with the reason;
    ``<out>-names.csv`` lists the copies that have another name than their image.
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
        except (Refused, OSError, ValueError) as error:  # ValueError: file names cannot contain a null byte
            left_out.append((sample_id, reason(error)))
            continue
        before, after = before + len(data), after + len(clean)
        copied.append((sample_id, name))
    renamed = [pair for pair in copied if pair[0] != pair[1]]
    for path, columns, rows in ((refusals(out), ["sample_id", "reason"], left_out), (new_names(out), ["sample_id", "copy"], renamed)):
        if rows:
            write_frame(pd.DataFrame(rows, columns=columns), path)
    counts = {"images": len(copied), "failed": failed, "refused": len(left_out) - failed, "renamed": len(renamed)}
    return {**counts, "bytes_removed": before - after}


def refusals(out: Path) -> Path:
    """Return the path of the list of images that were not copied, with reasons."""
    return out.with_name(f"{out.name}-refused.csv")


def new_names(out: Path) -> Path:
    """Return the path of the list of copies that have another name than their image."""
    return out.with_name(f"{out.name}-names.csv")


def copy_names(sample_ids: Sequence[str], location: str) -> list[str]:
    """Return a unique path below the target folder for each image.

    The path is the normalized sample id. If some images are outside the dataset's folder (absolute paths, ``../x``, URLs), it is the absolute path
    relative to the deepest folder that contains all images. Names that collide are numbered.

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


def _rooted(path: str) -> str:
    """Return a path or URL as an absolute path; a URL's starts with its protocol and host."""
    return "/" + path.replace("://", "/", 1).lstrip("/")


def _refuse_unsafe(run: Run, location: str, out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise AuditError(out, "is not empty", "choose a new folder")
    for path in (refusals(out), new_names(out)):
        if path.exists():
            raise AuditError(path, "is the list of an earlier export", "delete it, or choose a new folder")
    whole = out.resolve()
    for path, what in ((Path(location), "the dataset"), (run.path, "the run")):
        if path.is_dir() and (whole == path.resolve() or path.resolve() in whole.parents):
            raise AuditError(out, f"is inside {what}", "choose a folder outside it")


def _write_new(path: Path, data: bytes) -> None:
    """Write one copy; never replace another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)

"""Small pictures of what a run flagged, kept with the run: ``RUN/previews/<content id>.jpg``.

Made straight from the dataset, whatever it is stored in, and only of images that the run lists. Once made they are shown without the dataset; where
one was never made and the dataset is gone, the 32-pixel thumbnail that verification used stands in. They hold no metadata of the original: no place,
no owner, no comment.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.errors import AuditError
from audit.images.boxes import shown_images
from audit.images.decode import DEFAULT_MAX_PIXELS, decode

if TYPE_CHECKING:
    from audit.run.run import Run
    from audit.sources import Source

FOLDER = "previews"

SIDE = 256
"""Longest side of a preview, in pixels."""

STAND_IN_SIDE = 96
"""Longest side of a stored thumbnail that stands in for a preview."""

QUALITY = 80
"""Of the JPEGs: nothing a reviewer looks for is lost, and a preview takes about 12 kB."""

_AT_ONCE = 64
"""Images read before their previews are made: bounds the memory."""
_THREADS = 2


def shrink(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes | None:
    """Return an image's preview as JPEG: upright, at most `SIDE` pixels long, without metadata; None where the image cannot be decoded.

    Args:
        data: the image file's bytes.
        max_pixels: larger images are not decoded.
    """
    image = decode(data, max_pixels=max_pixels).image
    return None if image is None else _jpeg(image, SIDE)


def preview(run: Run, row: int) -> bytes | None:
    """Return the preview of the image in one row, as JPEG; see `previews`."""
    return previews(run, [row])[0]


def previews(run: Run, rows: Sequence[int], *, source: Source | None = None) -> list[bytes | None]:
    """Return previews as JPEG: those kept with the run, else made from the dataset and kept, else the stored thumbnails.

    An image whose bytes have changed since the scan is not shown: the findings are about what was scanned.

    Args:
        run: a run; where its directory may not be written, nothing is kept.
        rows: of the images.
        source: the dataset, where it is open already.

    Returns:
        One entry a row; None for an image that could not be decoded.

    Raises:
        IndexError: the run has no such row.
    """
    if any(not 0 <= row < len(run) for row in rows):
        raise IndexError(f"rows {list(rows)} of a run of {len(run)} images")
    found = dict(_kept_or_made(run, rows, source))
    lacking = [row for row in dict.fromkeys(rows) if found.get(row) is None]
    found |= dict(zip(lacking, _stand_ins(run, lacking), strict=True))
    return [found[row] for row in rows]


def make(
    run: Run,
    limit: int = 500,
    *,
    source: Source | None = None,
    seconds: float | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """Make the previews of the worst flagged images and of the images they were compared with, as far as they are not there.

    Args:
        run: a finished run.
        limit: images, partners included.
        source: the dataset, where it is open already.
        seconds: stop after about so long; what is left is made when it is first looked at.
        advance: told of each image looked at.

    Returns:
        How many previews are there now, of those asked for.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    there = 0
    rows = flagged_rows(run, limit)
    step = _AT_ONCE if seconds is None else _AT_ONCE // 4
    for start in range(0, len(rows), step):
        if deadline is not None and time.monotonic() >= deadline:
            break
        part = rows[start : start + step]
        there += sum(data is not None for _, data in _kept_or_made(run, part, source))
        advance(len(part))
    return there


def flagged_rows(run: Run, limit: int) -> list[int]:
    """Return the rows that findings show, the worst first, without repetition, at most ``limit``; a fifth is kept for examples of classes."""
    of_samples, others = (_names(run, subject, limit) for subject in (["sample"], ["class", "dataset", "group"]))
    names = dict.fromkeys([*of_samples[: limit - min(len(others), limit // 5)], *others, *of_samples])
    rows = run.rows_of(list(names)[:limit])
    return [int(row) for row in rows if row >= 0]


def _names(run: Run, subjects: list[str], limit: int) -> list[str]:
    page = run.findings_page({"subject": subjects}, limit=limit).rows
    shown = (shown_images(name, json.loads(evidence)) for name, evidence in zip(page["sample_id"], page["evidence"], strict=True))
    return list(dict.fromkeys(name for names in shown for name in names))


def _kept_or_made(run: Run, rows: Sequence[int], source: Source | None) -> Iterator[tuple[int, bytes | None]]:
    """Yield row and preview; of an image that cannot be had from the dataset, None."""
    samples = run.columns("content_id", "source_ref", "outcome", rows=np.asarray(rows, np.int64))
    missing = []
    for row, sample in zip(rows, samples.to_dict("records"), strict=True):
        if sample["outcome"] != "ok":
            continue
        kept = _read(_place(run, sample["content_id"]))
        if kept is None:
            missing.append((row, sample["content_id"], sample["source_ref"]))
        else:
            yield row, kept
    source = source or (_source(run) if missing else None)
    if missing and source is not None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                made = pool.map(_shrink_scanned, [(content_id, _bytes(source, ref)) for _, content_id, ref in part])
                for (row, content_id, _), data in zip(part, made, strict=True):
                    if data is not None:
                        _keep(_place(run, content_id), data)
                    yield row, data


def _shrink_scanned(image: tuple[str, bytes | None]) -> bytes | None:
    content_id, data = image
    if data is None or hashlib.sha256(data).hexdigest() != content_id:
        return None
    return shrink(data, max_pixels=sys.maxsize)  # the scan decoded these very bytes under its own limit


def _source(run: Run) -> Source | None:
    with suppress(AuditError, OSError):
        return run.source()
    return None


def _bytes(source: Source, source_ref: str) -> bytes | None:
    try:
        return source.read(source_ref)
    except Exception:  # noqa: BLE001 - storage libraries raise their own kinds; an image that cannot be had has no preview
        return None


def _place(run: Run, content_id: str) -> Path:
    if not content_id.isalnum():  # a run directory may come from anybody
        raise ValueError(f"{content_id!r} is no content id")
    return run.path / FOLDER / f"{content_id}.jpg"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() or None  # an empty file is what a power cut leaves
    except OSError:
        return None


def _keep(path: Path, data: bytes) -> None:
    """Keep a preview where the run may be written. It can be made again, so it is moved into place but not flushed to the disk one by one."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)


def _stand_ins(run: Run, rows: Sequence[int]) -> list[bytes | None]:
    """Return the stored square thumbnails in the images' own proportions; None for images that failed."""
    if not rows or not (run.path / "thumbnails.npy").is_file():
        return [None] * len(rows)
    samples = run.columns("outcome", "width", "height", rows=np.asarray(rows, np.int64))
    made: list[bytes | None] = []
    for row, outcome, width, height in zip(rows, *(samples[name].tolist() for name in ("outcome", "width", "height")), strict=True):
        if outcome != "ok":
            made.append(None)
            continue
        square: npt.NDArray[np.uint8] = np.asarray(run.thumbnails[row])
        scale = STAND_IN_SIDE / max(width, height, 1.0)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        made.append(_jpeg(Image.fromarray(square).resize(size, Image.Resampling.BICUBIC), STAND_IN_SIDE))
    return made


def _jpeg(image: Image.Image, side: int) -> bytes:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()  # Pillow would write comments and XMP of the original again
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()

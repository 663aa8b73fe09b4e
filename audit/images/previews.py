"""Previews of flagged images, stored in the run: ``RUN/previews/<content id>.jpg``.

Created from the dataset, and only for images that the run lists. A stored preview does not need the dataset; without preview and dataset, the
32-pixel thumbnail is shown instead. Previews contain no metadata of the original.
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
"""Longest side of a thumbnail shown in place of a preview."""

QUALITY = 80
"""JPEG quality: sufficient for review, at about 12 kB per preview."""

_AT_ONCE = 64
"""Images read before their previews are created; bounds memory."""
_THREADS = 2


def shrink(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes | None:
    """Return an image's preview as JPEG: upright, at most `SIDE` pixels long, without metadata; None if the image cannot be decoded.

    Args:
        data: the image file's bytes.
        max_pixels: larger images are not decoded.
    """
    image = decode(data, max_pixels=max_pixels).image
    return None if image is None else _jpeg(image, SIDE)


def preview(run: Run, row: int) -> bytes | None:
    """Return the preview of one row as JPEG; see `previews`."""
    return previews(run, [row])[0]


def previews(run: Run, rows: Sequence[int], *, source: Source | None = None) -> list[bytes | None]:
    """Return previews as JPEG: the stored ones, else new ones from the dataset, which are then stored, else the thumbnails.

    An image whose bytes have changed since the scan gets no new preview, because the findings are about the scanned bytes.

    Args:
        run: a run; nothing is stored if its directory is read-only.
        rows: rows of the run.
        source: the dataset, if it is already open.

    Returns:
        One entry per row; None for an image that could not be decoded.

    Raises:
        IndexError: the run has no such row.
    """
    if any(not 0 <= row < len(run) for row in rows):
        raise IndexError(f"rows {list(rows)} of a run of {len(run)} images")
    found = dict(_stored_or_new(run, rows, source))
    missing = [row for row in dict.fromkeys(rows) if found.get(row) is None]
    found |= dict(zip(missing, _thumbnails(run, missing), strict=True))
    return [found[row] for row in rows]


def make(
    run: Run, limit: int = 500, *, source: Source | None = None, seconds: float | None = None, advance: Callable[[int], None] = lambda _: None
) -> int:
    """Create the missing previews of the worst flagged images and their partners.

    Args:
        run: a finished run.
        limit: maximum number of images, partners included.
        source: the dataset, if it is already open.
        seconds: stop after about this time; other previews are created when they are first shown.
        advance: called with the number of newly processed images.

    Returns:
        The number of previews that exist now.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    available = 0
    rows = flagged_rows(run, limit)
    step = _AT_ONCE if seconds is None else _AT_ONCE // 4
    for start in range(0, len(rows), step):
        if deadline is not None and time.monotonic() >= deadline:
            break
        part = rows[start : start + step]
        available += sum(data is not None for _, data in _stored_or_new(run, part, source))
        advance(len(part))
    return available


def flagged_rows(run: Run, limit: int) -> list[int]:
    """Return the distinct rows that findings show, the worst first, at most ``limit``; a fifth is reserved for examples of classes."""
    of_samples, others = (_names(run, subject, limit) for subject in (["sample"], ["class", "dataset", "group"]))
    names = dict.fromkeys([*of_samples[: limit - min(len(others), limit // 5)], *others, *of_samples])
    rows = run.rows_of(list(names)[:limit])
    return [int(row) for row in rows if row >= 0]


def _names(run: Run, subjects: list[str], limit: int) -> list[str]:
    page = run.findings_page({"subject": subjects}, limit=limit).rows
    shown = (shown_images(name, json.loads(evidence)) for name, evidence in zip(page["sample_id"], page["evidence"], strict=True))
    return list(dict.fromkeys(name for names in shown for name in names))


def _stored_or_new(run: Run, rows: Sequence[int], source: Source | None) -> Iterator[tuple[int, bytes | None]]:
    """Yield row and preview; None if the dataset cannot provide the image."""
    samples = run.columns("content_id", "source_ref", "outcome", rows=np.asarray(rows, np.int64))
    missing = []
    for row, sample in zip(rows, samples.to_dict("records"), strict=True):
        if sample["outcome"] != "ok":
            continue
        stored = _read(_path(run, sample["content_id"]))
        if stored is None:
            missing.append((row, sample["content_id"], sample["source_ref"]))
        else:
            yield row, stored
    source = source or (_source(run) if missing else None)
    if missing and source is not None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                created = pool.map(_shrink_scanned, [(content_id, _bytes(source, ref)) for _, content_id, ref in part])
                for (row, content_id, _), data in zip(part, created, strict=True):
                    if data is not None:
                        _store(_path(run, content_id), data)
                    yield row, data


def _shrink_scanned(image: tuple[str, bytes | None]) -> bytes | None:
    content_id, data = image
    if data is None or hashlib.sha256(data).hexdigest() != content_id:
        return None
    return shrink(data, max_pixels=sys.maxsize)  # the scan applied its own limit to the same bytes


def _source(run: Run) -> Source | None:
    with suppress(AuditError, OSError):
        return run.source()
    return None


def _bytes(source: Source, source_ref: str) -> bytes | None:
    try:
        return source.read(source_ref)
    except Exception:  # noqa: BLE001 - storage libraries raise their own types; an unreadable image has no preview
        return None


def _path(run: Run, content_id: str) -> Path:
    if not content_id.isalnum():  # run directories are untrusted input
        raise ValueError(f"{content_id!r} is not a content id")
    return run.path / FOLDER / f"{content_id}.jpg"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() or None  # a power cut may leave an empty file
    except OSError:
        return None


def _store(path: Path, data: bytes) -> None:
    """Store a preview if the run is writable. It can be recreated, so it is written atomically but not synced to disk."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)


def _thumbnails(run: Run, rows: Sequence[int]) -> list[bytes | None]:
    """Return the square thumbnails in the images' aspect ratios; None for images that failed."""
    if not rows or not (run.tables / "thumbnails.npy").is_file():
        return [None] * len(rows)
    samples = run.columns("outcome", "width", "height", rows=np.asarray(rows, np.int64))
    found: list[bytes | None] = []
    for row, outcome, width, height in zip(rows, *(samples[name].tolist() for name in ("outcome", "width", "height")), strict=True):
        if outcome != "ok":
            found.append(None)
            continue
        square: npt.NDArray[np.uint8] = np.asarray(run.thumbnails[row])
        scale = STAND_IN_SIDE / max(width, height, 1.0)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        found.append(_jpeg(Image.fromarray(square).resize(size, Image.Resampling.BICUBIC), STAND_IN_SIDE))
    return found


def _jpeg(image: Image.Image, side: int) -> bytes:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()  # else Pillow copies comments and XMP of the original
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()

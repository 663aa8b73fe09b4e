"""Read images again that ingest has read: with the same limits, and deep values at the same scale."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from audit.images.decode import decode
from audit.images.deep import Ranges
from audit.ingest.chunks import DEFAULT_SECONDS
from audit.sources.base import Source
from audit.sources.storage.files import DEFAULT_MAX_BYTES, at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How to read an image of a dataset. One that takes too long ends the process, as in ingest: call this in a process that may be ended."""

    source: Source
    max_pixels: int
    max_bytes: int = DEFAULT_MAX_BYTES
    seconds: float = DEFAULT_SECONDS
    """Time to decode an image."""
    ranges: Ranges = field(default_factory=dict)
    """How deep values are scaled, by mode."""

    def __call__(self, source_ref: str) -> npt.NDArray[np.uint8] | None:
        """Return uint8 ``[h, w, 3]``, upright RGB; None if that fails now: ingest has reported what it found."""
        try:
            with at_most(self.max_bytes):
                data = self.source.read(source_ref)
        except Exception:  # noqa: BLE001  storage libraries raise their own types
            return None
        with _timed(self.seconds):
            image = decode(data, max_pixels=self.max_pixels, ranges=self.ranges).image
            return None if image is None else np.asarray(image)


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process also inside a decoder, which no Python handler could interrupt
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

"""The interface of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.backbones.base import Backbone
from audit.backbones.runtime import Placement
from audit.images.deep import Ranges
from audit.ingest.chunks import DEFAULT_SECONDS, Chunk, Ingested
from audit.ingest.reuse import ReusableIds
from audit.sources.base import Source
from audit.sources.storage.files import DEFAULT_MAX_BYTES

if TYPE_CHECKING:
    from audit.neighbors.backends import Backend
    from audit.neighbors.search import BlockSearch, Found  # imports a search library


@dataclass(frozen=True, slots=True)
class Job:
    """Images to read, with everything needed to read and embed them on any machine."""

    source: Source
    backbone: Backbone
    placement: Placement
    max_pixels: int
    batch_size: int
    workers: int | None
    """Number of processes that read and decode; None uses one per CPU."""
    rows: npt.NDArray[np.int64]
    """The rows of the run to read."""
    source_refs: pa.ChunkedArray
    """One reference per row."""
    reusable: ReusableIds | None = None
    """Images that need no decoding."""
    max_bytes: int = DEFAULT_MAX_BYTES
    seconds: float = DEFAULT_SECONDS
    """Time per image."""
    ranges: Ranges = field(default_factory=dict)
    """How deep values are scaled; see `audit.images.deep`."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the images in batches."""
        for start in range(0, len(self.rows), self.batch_size):
            yield Chunk(self.rows[start : start + self.batch_size], self.source_refs.slice(start, self.batch_size).to_pylist())


class Engine(Protocol):
    """Runs the long passes of a scan."""

    def place(self, backbone: Backbone, *, device: str, precision: str, note: Callable[[str], None]) -> Placement:
        """Choose what a backbone runs on. Raises BackboneError if the requested device or precision is not available."""
        ...

    def ingest(self, job: Job, note: Callable[[str], None]) -> Iterator[Ingested]:
        """Read, decode, measure and embed images; yield each row once, in any order."""
        ...

    def backend(self, device: str) -> Backend:
        """Choose what compares many rows with all others; see `audit.neighbors.backends`."""
        ...

    def search(
        self, work: BlockSearch, embeddings: npt.NDArray[np.float16], blocks: list[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Found]]:
        """Search blocks of rows; see `audit.neighbors.search.Spread`."""
        ...

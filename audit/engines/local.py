"""The local engine: worker processes read and embed; this process searches block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones import placement, runtime
from audit.backbones.runtime import Placement, TorchEmbedder
from audit.engines.base import Job
from audit.ingest.chunks import Ingested, Recipe
from audit.ingest.workers import ingest
from audit.processes import available_cpus

if TYPE_CHECKING:
    from audit.backbones import Backbone
    from audit.neighbors.backends import Backend
    from audit.neighbors.search import BlockSearch, Found


class LocalEngine:
    """Runs everything on this machine."""

    def place(self, backbone: Backbone, *, device: str, precision: str, note: Callable[[str], None]) -> Placement:
        """See `audit.engines.base.Engine`."""
        return placement.place(backbone, device=device, precision=precision, note=note)

    def ingest(self, job: Job, note: Callable[[str], None]) -> Iterator[Ingested]:
        """See `audit.engines.base.Engine`."""
        model = runtime.prepare(job.backbone, job.placement, note, batch_size=job.batch_size)
        shared, embedder = (None, model) if isinstance(model, TorchEmbedder) else (model, None)
        recipe = Recipe(job.source, job.backbone.preprocessing, job.max_pixels, shared, job.reusable, job.max_bytes, job.seconds, ranges=job.ranges)
        workers = job.workers or available_cpus()
        return ingest(job.chunks(), len(job.rows), recipe, embedder, workers=workers, together=job.batch_size)

    def backend(self, device: str) -> Backend:
        """See `audit.engines.base.Engine`."""
        from audit.neighbors import backends

        return backends.on_this_machine(device)

    def search(
        self, work: BlockSearch, embeddings: npt.NDArray[np.float16], blocks: list[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Found]]:
        """See `audit.engines.base.Engine`."""
        from audit.neighbors.search import here

        return here(work, embeddings, blocks)

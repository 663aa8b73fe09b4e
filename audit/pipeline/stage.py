"""What a stage of a scan is, and what the stages of one scan share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from audit.ingest.rereading import Reader
from audit.io.artifacts import to_frame
from audit.run.identity import identities
from audit.run.record import Stored
from audit.run.tables import read_pairs, read_samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    from audit.backbones import Backbone
    from audit.backbones.runtime import Placement
    from audit.checks import Check
    from audit.config import ScanOptions
    from audit.engines import Engine
    from audit.ingest.cache import ImageCache
    from audit.ingest.vectors import Vectors
    from audit.io.progress import Observer
    from audit.run.record import Record
    from audit.sources import Source


LABEL_EMBEDDINGS = "state/label-embeddings.npy"
"""Embeddings of all backbones side by side, where there are several."""


@dataclass(frozen=True, kw_only=True)
class ExtraBackbone:
    """A backbone besides the first, for label predictions."""

    backbone: Backbone
    placement: Placement
    plan: dict[str, Any]
    """As `Scan.plan`."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan: its request, its resources, and the tables that several stages read.

    A table is read from the run directory at its first use, which must come after the stage that writes it.
    """

    run: Path
    """The run directory."""
    source: Source
    listing: pa.Table
    """Columns of ``audit.tables.LISTING``, in the row order of every table of the run."""
    classes: list[str]
    """All labels of the listing, sorted."""
    options: ScanOptions
    checks: Mapping[str, Check]
    """The checks to run, by name."""
    backbone: Backbone
    placement: Placement
    plan: dict[str, Any]
    """What a row of the tables of ingest depends on besides the image's bytes."""
    extra: tuple[ExtraBackbone, ...] = ()
    """Backbones whose embeddings are added for label predictions."""
    vectors: Vectors | None = None
    """The user's embeddings, in place of the backbone's."""
    baseline: Path | None = None
    """The run of the version before; None if it is the run directory's own."""
    cache: ImageCache | None
    engine: Engine
    record: Record
    observer: Observer

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Columns of ``audit.tables.SAMPLES``."""
        return to_frame(read_samples(self.run, len(self.listing)))

    @cached_property
    def images(self) -> npt.NDArray[np.bytes_]:
        """``[n]`` the content that each embedding was computed from; see `audit.run.identity.identities`."""
        return identities(self.samples)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Columns of ``audit.tables.PAIRS``."""
        return to_frame(read_pairs(self.run, len(self.listing)))

    @property
    def reader(self) -> Reader:
        """How later stages read images again."""
        options, ranges = self.options, self.plan.get("ranges", {})
        return Reader(
            source=self.source, max_pixels=options.max_pixels, max_bytes=options.max_bytes, seconds=options.seconds_per_image, ranges=ranges
        )

    @property
    def wants_faces(self) -> bool:
        """Whether to detect faces."""
        return self.options.faces and "faces" in self.checks

    def state(self, stage: str) -> Mapping[str, Any]:
        """Return what the record holds about a stage's last result; empty if there is none."""
        state: Mapping[str, Any] = self.record.content["stages"].get(stage, {})
        return state


class Stage(Stored, Protocol):
    """One step of a scan. It is skipped while its key is the one that its files were written under."""

    def key(self, scan: Scan) -> str | None:
        """Return a digest of everything the result depends on; None if the stage runs in every scan."""
        del scan
        return None

    def is_current(self, scan: Scan, key: str | None) -> bool:
        """Return whether the files in the run directory are the result for this key."""
        return key is not None and scan.record.done(self, key)

    def run(self, scan: Scan) -> dict[str, object] | None:
        """Write the stage's files, calling ``record.begin`` before the first.

        Returns:
            Facts for ``run.json``; None if this scan does not want the stage's files, which are then removed.

        Raises:
            DamagedError: a file of an earlier stage is damaged.
        """
        ...

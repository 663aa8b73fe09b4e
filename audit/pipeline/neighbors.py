"""Neighbors: search each image's nearest images; after a small change of the dataset only the changed rows are searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.errors import RunError
from audit.io.artifacts import open_array, write_array
from audit.pipeline.code_digest import code_digest
from audit.pipeline.stage import Scan, Stage
from audit.run.identity import old_rows
from audit.run.record import digest_of, key_of
from audit.run.tables import open_rows

if TYPE_CHECKING:
    from audit.neighbors.search import PreviousNeighbors

_INDICES, _SIMILARITIES = "neighbors.npy", "similarities.npy"
_KNOWN = ("state/neighbors.npy", "state/similarities.npy", "state/neighbors-of.npy")
_CODE = "audit.neighbors.search"


class Neighbors(Stage):
    """Searches neighbors by embedding."""

    name = "neighbors"
    files = (_INDICES, _SIMILARITIES, *_KNOWN)

    def key(self, scan: Scan) -> str:
        """Return a digest of the embeddings, the options and the code of the search."""
        backbone = scan.record.content["backbone"]
        embedded = key_of(backbone["weights_id"], digest_of(scan.images), backbone["precision"])
        return key_of(embedded, scan.options.neighbors, scan.options.seed, code_digest(_CODE))

    def run(self, scan: Scan) -> dict[str, object]:
        """Write each image's neighbors and their similarities."""
        from audit.neighbors.backends import PROCESSORS
        from audit.neighbors.search import GPU_FROM, search

        run, options, observer, rows = scan.run, scan.options, scan.observer, len(scan.images)
        scan.record.rely_on("embeddings.npy")
        try:
            previous = self._previous(scan)
        except RunError as error:
            observer.note(f"neighbors: {error.where}: {error.problem}; all rows are searched again")
            previous = None
        scan.record.begin(self)
        backend = scan.engine.backend(options.device) if rows >= GPU_FROM else PROCESSORS
        if backend.reason:
            observer.note(backend.reason)
        observer.stage("neighbors", rows)
        found = search(
            open_rows(run, "embeddings", rows),
            k=options.neighbors,
            seed=options.seed,
            previous=previous,
            advance=observer.advance,
            spread=scan.engine.search,
            backend=backend,
        )
        (run / "state").mkdir(exist_ok=True)
        arrays = (found.indices, found.similarities, found.known.indices, found.known.similarities, scan.images)
        for name, array in zip(self.files, arrays, strict=True):
            write_array(run / name, array)
        return {"method": found.method, "recall": found.recall, "plan": _plan(scan), "complete": found.known.complete}

    def _previous(self, scan: Scan) -> PreviousNeighbors | None:
        """Return what an earlier scan found for the same images. Raises RunError if it is damaged."""
        from audit.neighbors.search import Known, PreviousNeighbors

        state = scan.state(self.name)
        if state.get("plan") != _plan(scan) or state.get("key") == self.key(scan) or not all((scan.run / name).is_file() for name in self.files):
            return None
        if not scan.record.is_sound(*_KNOWN):
            return None
        indices_file, similarities_file, images_file = (scan.run / name for name in _KNOWN)
        before = open_array(images_file)
        # Copies, not maps: the files they come from are about to be replaced.
        indices, similarities = (np.array(open_array(file, len(before))) for file in (indices_file, similarities_file))
        if indices.shape != similarities.shape or indices.min(initial=-1) < -1 or indices.max(initial=-1) >= len(before):
            raise RunError(indices_file, "corrupt: refers to rows that do not exist", "delete this file and scan again")
        known = Known(indices, similarities, complete=state.get("complete", False))
        return PreviousNeighbors(known, state.get("method") == "exact", old_rows(before, scan.images))


def _plan(scan: Scan) -> str:
    return key_of(scan.record.content["backbone"], scan.options.neighbors, code_digest(_CODE))

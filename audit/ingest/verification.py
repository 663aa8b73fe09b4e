"""Verify by reading that images still have the content that earlier scans of the run stored: size and modification time can be forged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from audit.errors import RunError
from audit.ingest.staging import stored_content
from audit.processes import available_cpus
from audit.sources import Source
from audit.sources.storage.gzip import is_gzip

_AT_ONCE = 256
"""Images whose digests are pending: bounds what a slow source queues."""


def verified(listing: pa.Table, run: Path, source: Source, advance: Callable[[int], None]) -> tuple[pa.Table, int]:
    """Change the fingerprints of images whose bytes differ from those stored under the same id and fingerprint, so that they are measured again.

    Args:
        listing: ``audit.tables.LISTING``.
        run: the run directory.
        source: the dataset.
        advance: called with the number of newly read images.

    Returns:
        The listing, and the number of changed fingerprints.
    """
    try:
        stored = stored_content(run)
    except RunError:  # the ingest notes corrupt files and reads their images again
        stored = {}
    if not stored:
        return listing, 0
    ids, fingerprints, refs = (listing[name].to_pylist() for name in ("sample_id", "fingerprint", "source_ref"))
    known = (at for at in range(len(ids)) if (ids[at], fingerprints[at]) in stored)
    changed = 0
    # A gzipped archive can only be read in order: another order would start again from its first byte.
    with ThreadPoolExecutor(1 if is_gzip(source.location) else available_cpus()) as pool:
        while some := list(islice(known, _AT_ONCE)):
            for at, digest in zip(some, pool.map(lambda at: _digest(source, refs[at]), some), strict=True):
                if digest is not None and stored[ids[at], fingerprints[at]] != {digest}:
                    fingerprints[at] = f"{fingerprints[at]}-{digest[:32]}"
                    changed += 1
            advance(len(some))
    at = listing.column_names.index("fingerprint")
    return listing.set_column(at, listing.schema.field(at), pa.chunked_array([np.array(fingerprints, object)], pa.string())), changed


def _digest(source: Source, source_ref: str) -> str | None:
    """Return the content id of an image; None if it cannot be read, which the ingest reports."""
    try:
        return hashlib.sha256(source.read(source_ref)).hexdigest()
    except Exception:  # noqa: BLE001 - storage libraries raise their own types
        return None

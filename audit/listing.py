"""A source's samples as one table, in the row order that every table of the run keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import SourceError
from audit.sources import Sample, Source
from audit.sources.faults import readable
from audit.sources.problems import Problem
from audit.tables import LISTING

_ROWS_AT_ONCE = 65_536


class Listing(NamedTuple):
    """A dataset as it was listed."""

    table: pa.Table
    """Columns of ``audit.tables.LISTING``, sorted by sample id."""
    problems: tuple[Problem, ...]
    """What the listing met that is no image's own outcome."""


def list_samples(source: Source, advance: Callable[[int], None]) -> Listing:
    """List a source's samples, sorted by sample id.

    Args:
        source: the dataset.
        advance: told how many more samples are listed.

    Raises:
        SourceError: two samples share an id, there are none, or the place is damaged or out of reach.
    """
    samples = source.collect()
    batches = []
    with readable(source.location):
        while some := list(islice(samples, _ROWS_AT_ONCE)):
            batches.append(_batch(some))
            advance(len(some))
    table = pa.Table.from_batches(batches, LISTING).sort_by("sample_id").combine_chunks()
    if not len(table):
        raise SourceError(source.location, "holds no images", "name a folder, tar, manifest or shard pattern that does; see docs/sources.md")
    _refuse_twins(table, source)
    return Listing(table, tuple(source.problems))


def listing_key(table: pa.Table) -> str:
    """Return a digest of a listing: equal exactly when ids, references, fingerprints, splits, labels and metadata are."""
    digest = hashlib.sha256()
    with pa.ipc.new_stream(_Digest(digest), table.schema) as stream:
        stream.write_table(table.combine_chunks(), max_chunksize=_ROWS_AT_ONCE)
    return digest.hexdigest()


class _Digest:
    """A file whose content goes into a hash."""

    closed = False

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass


def _batch(samples: list[Sample]) -> pa.RecordBatch:
    columns = {
        "sample_id": [sample.sample_id for sample in samples],
        "source_ref": [sample.source_ref for sample in samples],
        "fingerprint": [sample.fingerprint for sample in samples],
        "split": [sample.split for sample in samples],
        "label": [sample.label for sample in samples],
        "labels": [None if sample.labels is None else list(sample.labels) for sample in samples],
        "metadata": [json.dumps(dict(sample.metadata), sort_keys=True, default=str) if sample.metadata else None for sample in samples],
    }
    return pa.RecordBatch.from_pydict(columns, LISTING)


def _refuse_twins(table: pa.Table, source: Source) -> None:
    ids = table["sample_id"]
    same = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    if not pc.any(same).as_py():
        return
    at = pc.index(same, value=True).as_py()
    twin = table.slice(at, 2).to_pylist()
    find_places = getattr(source, "places", None)  # a table knows its lines
    found = find_places(twin[0]["sample_id"]) if find_places else [row["source_ref"] for row in twin]
    places = " and ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")
    raise SourceError(source.location, f"two samples share the id {twin[0]['sample_id']!r}: {places}", "give every sample a path of its own")

"""A cache of measurements by content, in a folder or under an fsspec URL, shared by scans of any machine and dataset version.

``CACHE/PLAN/SHARD.parquet``: the plan is a digest of everything besides the bytes that rows depend on (model weights, preprocessing, precision,
release of the measures), so that different models coexist. Shards are immutable and named by their content, so that two scans that add the same
images write the same file. Any file may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.errors import ConfigError, RunError, reason
from audit.ingest.reuse import Measurements, Store, reusable_ids
from audit.io.artifacts import replacing
from audit.run.record import key_of
from audit.tables import FEATURE_BYTES, FEATURES, MEASURES, THUMBNAIL_SIDE

_ROWS_PER_SHARD = 4_096
"""About 30 MB at 1280 dimensions: few files for millions of images, small downloads for a few."""

_ROW_GROUP = 512
_THUMBNAIL_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3
_ERRORS = (OSError, ValueError, pa.ArrowException)
"""Errors of storage libraries and the Parquet reader."""


class ImageCache:
    """A cache for one plan.

    Args:
        location: a folder, created if it is missing, or an fsspec URL.
        plan: what rows depend on besides an image's bytes.
        dimension: length of an embedding.

    Raises:
        ConfigError: the location cannot be created or listed.
    """

    def __init__(self, location: str, *, plan: dict[str, Any], dimension: int) -> None:
        import fsspec

        self.location, self._dimension = location, dimension
        self._corrupt: set[str] = set()
        try:
            self._files, root = fsspec.core.url_to_fs(location)
            self._folder = f"{root.rstrip('/')}/{key_of(plan)}"
            self._files.makedirs(self._folder, exist_ok=True)
            self._names = sorted(name for name in self._files.ls(self._folder, detail=False, refresh=True) if name.endswith(".parquet"))
        except (*_ERRORS, ImportError) as error:
            raise ConfigError(f"--cache {location}", reason(error), "pass a writable folder or URL") from error

    def stores(self, note: Callable[[str], None]) -> Iterator[Store]:
        """Yield the shards; report one that cannot be read to ``note`` and skip it from then on."""
        for name in self._names:
            if name in self._corrupt:
                continue
            try:
                with self._open(name) as file:
                    ids = file.read(columns=["content_id"])["content_id"]
            except RunError as error:
                note(f"{error}; its images are read again")
                continue
            yield Store(name, ids, partial(self._rows, name))

    def add(self, measures: pa.Table, rows_of: Callable[[npt.NDArray[np.int64]], Measurements], note: Callable[[str], None]) -> int:
        """Store the images that the cache does not contain yet.

        Args:
            measures: columns content_id and outcome of images.
            rows_of: reads rows of them.
            note: called if the cache cannot be written, which does not affect the scan.

        Returns:
            The number of images added.
        """
        stored = [store.content_ids for store in self.stores(lambda _: None)]
        ids = pc.unique(reusable_ids(measures)).drop_null()
        new = ids.filter(pc.invert(pc.is_in(ids, pa.chunked_array(stored, pa.string()).combine_chunks()))) if stored else ids
        first = pc.index_in(new, reusable_ids(measures).combine_chunks()).to_numpy(zero_copy_only=False).astype(np.int64)
        first.sort()
        for start in range(0, len(first), _ROWS_PER_SHARD):
            try:
                self._write(rows_of(first[start : start + _ROWS_PER_SHARD]))
            except _ERRORS as error:
                note(f"cache {self.location}: cannot be written ({reason(error)}); this run is complete, but its images are not cached")
                return start
        return len(first)

    def _write(self, rows: Measurements) -> None:
        table = rows.measures
        for name, array in (("embedding", rows.embeddings), ("thumbnail", rows.thumbnails), ("features", rows.features)):
            table = table.append_column(name, _packed(array))
        digest = hashlib.sha256("".join(sorted(rows.measures["content_id"].to_pylist())).encode()).hexdigest()[:32]
        path = f"{self._folder}/{digest}.parquet"
        content = io.BytesIO()
        pq.write_table(table, content, row_group_size=_ROW_GROUP, write_page_checksum=True)
        if "file" in (self._files.protocol, *self._files.protocol):
            with replacing(Path(path)) as file:
                file.write(content.getbuffer())
        else:
            self._files.pipe_file(path, content.getvalue())  # object stores write atomically

    def _rows(self, name: str, rows: npt.NDArray[np.int64]) -> Measurements:
        with self._open(name) as file:
            groups = np.unique(rows // _ROW_GROUP)
            table = file.read_row_groups(groups.tolist())
        table = table.take(pa.array(np.searchsorted(groups, rows // _ROW_GROUP) * _ROW_GROUP + rows % _ROW_GROUP))
        embeddings = _unpacked(table["embedding"]).view(np.float16)
        thumbnails = _unpacked(table["thumbnail"]).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
        features = _unpacked(table["features"]).reshape(-1, FEATURES, FEATURE_BYTES)
        return Measurements(table.select(MEASURES.names).cast(MEASURES), embeddings, thumbnails, features)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[pq.ParquetFile]:
        """Open a shard. Raises RunError if it is corrupt or has another schema."""
        expected = {
            "embedding": pa.binary(2 * self._dimension),
            "thumbnail": pa.binary(_THUMBNAIL_BYTES),
            "features": pa.binary(FEATURES * FEATURE_BYTES),
            **{field.name: field.type for field in MEASURES},
        }
        try:
            with self._files.open(name, "rb") as file, pq.ParquetFile(file, page_checksum_verification=True) as table:
                schema = {field.name: field.type for field in table.schema_arrow}
                if schema != expected:
                    raise ValueError("not a shard of this version")
                yield table
        except _ERRORS as error:
            self._corrupt.add(name)
            raise RunError(name, f"corrupt: {reason(error)}", "delete this file") from error


def _packed(array: npt.NDArray[Any]) -> pa.FixedSizeBinaryArray:
    rows = np.ascontiguousarray(array)
    width = rows.nbytes // len(rows)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def _unpacked(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    array = column.combine_chunks()
    width = array.type.byte_width
    return np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width :][: len(array) * width].reshape(-1, width)

"""Staging area of an ingest, from which the next scan resumes after a kill.

``RUN/unfinished/`` contains the listing, the arrays (allocated in full, filled as images are read) and one small Parquet file per segment of rows,
written after the arrays. A row is stored if and only if a segment lists it. When all rows are stored, the files are moved into place. Corrupt
segments count as not stored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import RunError
from audit.ingest.chunks import Ingested
from audit.ingest.reuse import Measurements, Store, reusable_ids
from audit.ingest.vectors import Vectors
from audit.io.artifacts import create_array, open_array, read_json, read_table, reopen_array, write_json, write_table
from audit.run.tables import conforming, fields, open_rows
from audit.tables import FEATURE_BYTES, FEATURES, MEASURES, SAMPLES, THUMBNAIL_SIDE

FOLDER = "unfinished"
INGEST_PLAN = "ingest.json"
"""Stored with the finished tables: what their rows depend on besides the images."""
_OF_MODELS = frozenset({"weights", "preprocessing", "placement"})
"""Entries of a plan that only the embeddings depend on."""
_SUPERSEDED = "unfinished-before"
_PUBLISHED = "unfinished-published"
_ROWS_COPIED_AT_ONCE = 65_536
_ARRAYS = ("embeddings.npy", "thumbnails.npy", "features.npy")
FILES = ("samples.parquet", *_ARRAYS)
"""The output of an ingest; if one file is lost, all are recreated."""
_SEGMENT = pa.schema([pa.field("row", pa.int64(), nullable=False), *MEASURES])


@dataclass(frozen=True, slots=True)
class EarlierIngest:
    """Images that an earlier scan measured with the same plan: a table of ids and measures, and the row of each in the arrays."""

    samples: pa.Table
    """Columns sample_id, fingerprint and ``audit.tables.MEASURES``."""
    array_rows: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float16]
    thumbnails: npt.NDArray[np.uint8]
    features: npt.NDArray[np.uint8]

    def rows(self, positions: npt.NDArray[np.int64]) -> Measurements:
        """Return the measurements of some images."""
        at = self.array_rows[positions]
        measures = self.samples.select(MEASURES.names).take(pa.array(positions))
        return Measurements(measures, self.embeddings[at], self.thumbnails[at], self.features[at])


class Staging:
    """The staging area of a run's ingest; resumes an interrupted one.

    Args:
        run: the run directory.
        listing: ``audit.tables.LISTING``, in the run's row order.
        plan: what the rows depend on besides the images; stored rows of another plan are discarded.
        listing_key: digest of the listing.
        dimension: length of an embedding.
        vectors: embeddings that the user has, stored instead of measured ones; None for measured ones.
        note: called for stored rows that are corrupt and read again.
    """

    def __init__(
        self,
        run: Path,
        listing: pa.Table,
        *,
        plan: dict[str, Any],
        listing_key: str,
        dimension: int,
        vectors: Vectors | None = None,
        note: Callable[[str], None],
    ) -> None:
        self._run, self._listing, self._plan, self._dimension, self._vectors, self._note = run, listing, plan, dimension, vectors, note
        self.path = run / FOLDER
        wanted = {"plan": plan, "listing_key": listing_key}
        if _plan_of(self.path) == wanted:
            try:
                self._open()
            except RunError as error:
                note(_note(error, "all images of the interrupted scan are read again"))
                shutil.rmtree(self.path)
            else:
                self._drop_corrupt_segments()
                return
        self._begin(wanted)
        self._open()

    def _open(self) -> None:
        rows = len(self._listing)
        self.embeddings, self.thumbnails, self.features = self._arrays = [
            reopen_array(self.path / name, shape, dtype) for name, shape, dtype in _layouts(rows, self._dimension)
        ]

    def _drop_corrupt_segments(self) -> None:
        for segment in self._segments():
            try:
                read_table(segment)
            except RunError as error:
                self._note(_note(error, "its images are read again"))
                segment.unlink()

    def _begin(self, wanted: dict[str, Any]) -> None:
        superseded = self._run / _SUPERSEDED
        if _plan_of(self.path) is not None:  # the dataset changed after a scan was killed: keep its rows
            shutil.rmtree(superseded, ignore_errors=True)
            self.path.rename(superseded)
        else:
            shutil.rmtree(self.path, ignore_errors=True)
        (self.path / "segments").mkdir(parents=True)
        rows = len(self._listing)
        for name, shape, dtype in _layouts(rows, self._dimension):
            create_array(self.path / name, shape, dtype)
        write_table(self.path / "listing.parquet", self._listing)
        write_json(self.path / "plan.json", wanted)

    def missing_rows(self) -> npt.NDArray[np.int64]:
        """Return the rows that are not stored yet, ascending."""
        stored = np.zeros(len(self._listing), bool)
        for segment in self._segments():
            stored[read_table(segment, columns=["row"])["row"].to_numpy()] = True
        return np.flatnonzero(~stored)

    def store(self, parts: Sequence[Ingested]) -> None:
        """Store some rows: first the arrays, then the segment that lists them."""
        tables = []
        for part in parts:
            measures = pa.Table.from_pylist(part.measures, MEASURES)
            tables.append(self._fill(part.rows, Measurements(measures, part.embeddings, part.thumbnails, part.features)))
        self._store_segment(pa.concat_tables(tables))

    def adopt(self, missing: npt.NDArray[np.int64]) -> int:
        """Reuse missing rows that an earlier scan measured with the same id, fingerprint and plan. Return how many."""
        adopted = 0
        for earlier in self._earlier():
            old = pd.Index(earlier.samples["sample_id"].to_pandas()).get_indexer(self._column("sample_id", missing))
            new, old = missing[old >= 0], old[old >= 0]
            before = np.asarray(earlier.samples["fingerprint"].take(pa.array(old)))
            same = before == np.asarray(self._column("fingerprint", new))
            retried = pa.array(["missing", "timed_out"])  # may be readable now
            lost = np.asarray(pc.is_in(earlier.samples["outcome"], retried).take(pa.array(old)))
            new, old = new[same & ~lost], old[same & ~lost]
            for start in range(0, len(new), _ROWS_COPIED_AT_ONCE):
                part = slice(start, start + _ROWS_COPIED_AT_ONCE)
                self.store_reused(new[part], earlier.rows(old[part]))
            adopted += len(new)
            missing = np.setdiff1d(missing, new, assume_unique=True)
        return adopted

    def stores(self) -> Iterator[Store]:
        """Yield the measurements of earlier scans with the same plan, for reuse by content (renamed or touched files)."""
        for earlier in self._earlier():
            yield Store(str(self._run), reusable_ids(earlier.samples), earlier.rows)

    def store_reused(self, rows: npt.NDArray[np.int64], found: Measurements) -> None:
        """Store rows that were measured before."""
        self._store_segment(self._fill(rows, found))

    def _fill(self, rows: npt.NDArray[np.int64], found: Measurements) -> pa.Table:
        """Fill the arrays of some rows; return their segment."""
        measures, embeddings = found.measures, found.embeddings
        if self._vectors is not None:
            embeddings, lengths = self._vectors.rows(rows)
            failed = pc.not_equal(measures["outcome"], "ok").to_numpy(zero_copy_only=False)
            embeddings[failed] = np.nan
            at = measures.column_names.index("embedding_norm")
            measures = measures.set_column(at, MEASURES.field("embedding_norm"), pa.array(lengths, pa.float32(), mask=failed))
        self.embeddings[rows] = embeddings
        self.thumbnails[rows] = found.thumbnails
        self.features[rows] = found.features
        return measures.add_column(0, "row", pa.array(rows)).cast(_SEGMENT)

    def finish(self) -> pa.Table:
        """Combine the stored rows and move them into place; can be killed and called again.

        Returns:
            The run's samples, ``audit.tables.SAMPLES``.
        """
        segments = pa.concat_tables([read_table(segment) for segment in self._segments()]).sort_by("row")
        if len(segments) != len(self._listing) or not np.array_equal(segments["row"].to_numpy(), np.arange(len(self._listing))):
            raise AssertionError(f"{len(segments)} rows stored for {len(self._listing)} listed samples")
        table = self._listing
        for field in MEASURES:
            table = table.append_column(field, segments[field.name])
        table = table.cast(SAMPLES)
        write_table(self.path / "samples.parquet", table)
        for array in self._arrays:
            array.flush()
        shutil.rmtree(self._run / _SUPERSEDED, ignore_errors=True)
        (self.path / "complete").touch()
        publish(self._run)
        return table

    def _column(self, name: str, rows: npt.NDArray[np.int64]) -> Any:
        return self._listing[name].take(pa.array(rows)).to_pandas()

    def _store_segment(self, segment: pa.Table) -> None:
        for array in self._arrays:
            array.flush()
        numbers = [int(path.stem) for path in self._segments()]
        write_table(self.path / "segments" / f"{max(numbers, default=-1) + 1:06}.parquet", segment)

    def _segments(self) -> list[Path]:
        return sorted((self.path / "segments").glob("[0-9]*.parquet"))

    def _earlier(self) -> Iterator[EarlierIngest]:
        superseded = self._run / _SUPERSEDED
        try:
            stored = self._superseded(superseded)
        except RunError as error:
            self._note(_note(error, "all images of the interrupted scan are read again"))
            shutil.rmtree(superseded)
        else:
            if stored is not None:
                yield stored
        plan = self._run / INGEST_PLAN
        if plan.is_file() and all((self._run / name).is_file() for name in FILES) and self._reusable(read_json(plan)):
            table = read_table(self._run / "samples.parquet", columns=["sample_id", "fingerprint", *MEASURES.names])
            yield finished_ingest(self._run, conforming(fields(SAMPLES, table.column_names), table, self._run / "samples.parquet"))

    def _reusable(self, plan: Any) -> bool:
        """Return whether rows of a plan can be reused; with embeddings of the user's, those of any backbone can."""
        if self._vectors is None or not isinstance(plan, dict):
            return bool(plan == self._plan)
        return {name: value for name, value in plan.items() if name not in _OF_MODELS} == {
            name: value for name, value in self._plan.items() if name not in _OF_MODELS
        }

    def _superseded(self, folder: Path) -> EarlierIngest | None:
        """Return the rows of a scan that was killed before the dataset changed, if any. Raises RunError if they are corrupt."""
        before = _plan_of(folder)
        segments = sorted((folder / "segments").glob("[0-9]*.parquet"))
        if before is None or not self._reusable(before["plan"]) or not segments:
            return None
        stored = pa.concat_tables([read_table(path) for path in segments])
        listed = read_table(folder / "listing.parquet", columns=["sample_id", "fingerprint"])
        rows = len(listed)
        listed = listed.take(stored["row"])
        for field in MEASURES:
            listed = listed.append_column(field, stored[field.name])
        return EarlierIngest(listed, stored["row"].to_numpy(), *(open_array(folder / name, rows) for name in _ARRAYS))


def stored_content(run: Path) -> dict[tuple[str, str], set[str]]:
    """Return (sample id, fingerprint) -> the content ids stored for it, by finished and interrupted scans. Raises RunError if a file is corrupt."""
    tables = []
    if (run / "samples.parquet").is_file():
        tables.append(read_table(run / "samples.parquet", columns=["sample_id", "fingerprint", "content_id"]))
    for folder in (run / FOLDER, run / _SUPERSEDED):
        if (folder / "listing.parquet").is_file():
            listed = read_table(folder / "listing.parquet", columns=["sample_id", "fingerprint"])
            for segment in sorted((folder / "segments").glob("[0-9]*.parquet")):
                rows = read_table(segment, columns=["row", "content_id"])
                tables.append(listed.take(rows["row"]).append_column("content_id", rows["content_id"]))
    found: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        for name, fingerprint, content_id in zip(*(table[column].to_pylist() for column in ("sample_id", "fingerprint", "content_id")), strict=True):
            if content_id is not None:
                found.setdefault((name, fingerprint), set()).add(content_id)
    return found


def _layouts(rows: int, dimension: int) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
    """Return the name, the shape and the dtype of each of ``_ARRAYS``."""
    shapes = (rows, dimension), (rows, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), (rows, FEATURES, FEATURE_BYTES)
    return tuple(zip(_ARRAYS, shapes, (np.float16, np.uint8, np.uint8), strict=True))


def finished_ingest(run: Path, samples: pa.Table) -> EarlierIngest:
    """Return the images of a finished ingest."""
    return EarlierIngest(samples, np.arange(len(samples)), *(open_rows(run, Path(name).stem, len(samples)) for name in _ARRAYS))


def publish(run: Path) -> None:
    """Move a complete ingest, if any, into place. Every step can be repeated after a kill."""
    folder = run / FOLDER
    if not (folder / "complete").exists():
        return
    plan = _plan_of(folder)
    (run / INGEST_PLAN).unlink(missing_ok=True)  # marks the half-moved files as incomplete until it is written again
    for name in FILES:
        if (folder / name).exists():
            (folder / name).replace(run / name)
    if plan is not None:
        write_json(run / INGEST_PLAN, plan["plan"])
    done = run / _PUBLISHED
    shutil.rmtree(done, ignore_errors=True)
    folder.rename(done)  # atomic: a half-removed folder would look like a scan to resume
    shutil.rmtree(done)


def _plan_of(folder: Path) -> dict[str, Any] | None:
    """Return a folder's plan; None if it is missing or corrupt, which makes the rows unusable."""
    try:
        plan = read_json(folder / "plan.json")
    except RunError:
        return None
    return plan if isinstance(plan, dict) and "plan" in plan else None


def _note(error: RunError, consequence: str) -> str:
    return f"{error.where}: {error.problem}; {consequence}"

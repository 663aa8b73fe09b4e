"""A finished run: its tables, read when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.errors import RunError, SourceError, nearest
from audit.io.artifacts import open_array, read_in_blocks, read_json, read_rows, to_frame
from audit.run.findings_index import Page, Where, read_index, read_page, select
from audit.run.identity import content_keys
from audit.run.ranking import ranked
from audit.run.record_schema import damage, schema_version
from audit.run.tables import fields, held_to, open_rows, read_faces, read_label_quality, read_pairs, read_samples
from audit.sources.storage.problems import NOT_LISTED
from audit.tables import SAMPLES, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

    from audit.sources import Source

RECORD = "run.json"


class Run:
    """A run directory, read-only, as far as its scan has come; see `open_run`. Row *i* of every table and array is sample *i*.

    Args:
        path: the directory that ``imagenet-audit scan --out`` wrote.

    Raises:
        RunError: there is no run, its images are not read yet, or a newer version made it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / RECORD).is_file():
            raise RunError(path, "not a run directory: it has no run.json", "make one with: imagenet-audit scan SOURCE --out RUN")
        self.record: dict[str, Any] = read_json(self.path / RECORD)
        found = schema_version(self.record)
        if found is None:
            hint = f"where it is a dataset, take {RECORD} out of it; else make a run with: imagenet-audit scan SOURCE --out RUN"
            raise RunError(self.path / RECORD, "is no record of a run: it has no schema_version", hint)
        if found > SCHEMA_VERSION:
            problem = f"made by a newer version (schema {found}; this version reads up to {SCHEMA_VERSION})"
            raise RunError(path, problem, "update imagenet-audit")
        if not (self.path / "samples.parquet").is_file():
            raise RunError(path, "its scan was interrupted before the images were read", "run the same scan command again: it continues")
        damaged = damage(self.record)
        if damaged is not None:
            raise RunError(self.path / RECORD, f"damaged: {damaged}", "delete this file and scan again")

    def __len__(self) -> int:
        """Return the number of listed samples."""
        return int(self.record["counts"]["listed"])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Columns of ``audit.tables.SAMPLES``."""
        return to_frame(read_samples(self.path, len(self)))

    @cached_property
    def sample_ids(self) -> pa.ChunkedArray:
        """Every sample's id; a million fill tens of megabytes here, hundreds as Python strings."""
        return read_samples(self.path, len(self), ["sample_id"])["sample_id"]

    @cached_property
    def twins(self) -> dict[str, tuple[int, int]]:
        """Sample id -> its ordinal among the samples with the same bytes, and how many there are; only those with byte twins, others are (0, 1)."""
        import pandas as pd

        keys = pd.Series(self.content_keys)
        shared = np.flatnonzero((keys != 0) & keys.duplicated(keep=False))
        groups = keys.iloc[shared].groupby(keys.iloc[shared])
        places = zip(groups.cumcount().tolist(), groups.transform("size").tolist(), strict=True)
        return dict(zip(self.sample_ids.take(shared).to_pylist(), places, strict=True))

    @cached_property
    def content_keys(self) -> npt.NDArray[np.uint64]:
        """uint64 ``[n]``: 64 bits of each sample's content id, 0 where there is none; see `audit.run.identity.content_keys`."""
        return read_in_blocks(self.path / "samples.parquet", "content_id", content_keys, rows=len(self))

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float16]:
        """float16 ``[n, d]`` unit rows; NaN where an image failed."""
        return open_rows(self.path, "embeddings", len(self))

    @cached_property
    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """uint8 ``[n, side, side, 3]``: each whole image, squashed."""
        return open_rows(self.path, "thumbnails", len(self))

    @cached_property
    def neighbors(self) -> npt.NDArray[np.int32]:
        """int32 ``[n, k]`` rows, nearest first; -1 where there is none."""
        return open_rows(self.path, "neighbors", len(self))

    @cached_property
    def similarities(self) -> npt.NDArray[np.float32]:
        """float32 ``[n, k]`` cosines; NaN where there is no neighbor."""
        return open_rows(self.path, "similarities", len(self))

    def neighbors_of(self, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return one row of `neighbors` and of `similarities`. Raises RunError where it names a row that there is none of."""
        near, similarities = self.neighbors[row], self.similarities[row]
        name, problem = "neighbors.npy", None
        if near.shape != similarities.shape:
            name, problem = "similarities.npy", f"it holds {len(similarities)} of an image, and neighbors.npy {len(near)}"
        elif near.max(initial=-1) >= len(self) or near.min(initial=-1) < -1:
            problem = f"row {row} names rows from {near.min()} to {near.max()} of {len(self)}"
        if problem is not None:
            raise RunError(self.path / name, f"damaged: {problem}", "delete this file and scan again: only its stage is done again")
        return near, similarities

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Verified pairs; columns of ``audit.tables.PAIRS``."""
        return to_frame(read_pairs(self.path, len(self)))

    @cached_property
    def predictions(self) -> npt.NDArray[np.float32]:
        """float32 ``[n, c]`` out-of-sample class probabilities; columns as in ``classes``. Raises RunError where the dataset has no labels."""
        found = open_rows(self.path, "predictions", len(self))
        if found.shape[1] != len(self.classes):
            problem = f"damaged: has {found.shape[1]} columns for {len(self.classes)} classes"
            raise RunError(self.path / "predictions.npy", problem, "delete this file and scan again: only its stage is done again")
        return found

    @cached_property
    def label_quality(self) -> pd.DataFrame:
        """What is known of every given label; columns of ``audit.tables.LABEL_QUALITY``. Raises RunError where there are no predictions."""
        return to_frame(read_label_quality(self.path, len(self)))

    @cached_property
    def faces(self) -> pd.DataFrame:
        """Faces found; columns of ``audit.tables.FACES``. Raises RunError where none were looked for."""
        return to_frame(read_faces(self.path, len(self)))

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the predictions' columns."""
        return list(self.record.get("classes", []))

    @cached_property
    def findings(self) -> pd.DataFrame:
        """All checks' findings, worst first; columns of ``audit.tables.FINDINGS``."""
        return read_page(self._findings_files, self.findings_index).rows

    @cached_property
    def findings_index(self) -> pd.DataFrame:
        """All findings without sentences and evidence, worst first; see `audit.run.findings_index`."""
        return read_index(self._findings_files)

    def findings_page(self, where: Where | None = None, *, precision: pd.DataFrame | None = None, offset: int = 0, limit: int | None = None) -> Page:
        """Return some of the findings, the worst first; of a million, only those shown are read whole.

        Args:
            where: column -> the value, or the values, that are wanted: ``{"check": "label_errors", "split": ["train", "val"]}``.
            precision: how often each check was right so far, which changes the order; see `audit.run.ranking.ranked`.
            offset: how many to pass over.
            limit: how many to return at most.

        Raises:
            AuditError: findings have no such column.
        """
        chosen = select(self.findings_index, where or {})
        if precision is not None:
            chosen = ranked(chosen, precision)
        return read_page(self._findings_files, chosen, offset=offset, limit=limit)

    def read_findings(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return rows of `findings_index` whole, in their order, with sentences and evidence."""
        return read_page(self._findings_files, chosen).rows

    def columns(self, *names: str, rows: npt.NDArray[np.int64] | None = None) -> pd.DataFrame:
        """Return some columns of ``audit.tables.SAMPLES``, of all samples or of some rows in the order given; nothing else is read."""
        if rows is None:
            return to_frame(read_samples(self.path, len(self), names))
        path = self.path / "samples.parquet"
        return to_frame(held_to(fields(SAMPLES, names), read_rows(path, np.asarray(rows, np.int64), list(names)), path))

    def rows_of(self, sample_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the row of each sample id; -1 where the run has none of that name."""
        import pandas as pd
        import pyarrow.compute as pc

        wanted = pd.Index(list(sample_ids))
        places = pc.index_in(self.sample_ids, value_set=pa.array(wanted.unique(), pa.string()))
        rows = np.flatnonzero(places.is_valid())
        of_place = np.full(len(wanted.unique()), -1, np.int64)
        of_place[places.take(rows).to_numpy()] = rows
        return of_place[wanted.unique().get_indexer(wanted)]

    @property
    def not_listed(self) -> list[str]:
        """What of the dataset could not be listed, a sentence each; empty where every image is in the tables."""
        found = self.record.get("source", {}).get("problems")
        problems = [problem for problem in found if isinstance(problem, Mapping)] if isinstance(found, list) else []
        return [str(problem.get("message")) for problem in problems if problem.get("kind") == NOT_LISTED]

    @property
    def _findings_files(self) -> list[Path]:
        done = (name for name, check in sorted(self.record.get("checks", {}).items()) if check["state"] == "done")
        return [self.path / "findings" / f"{name}.parquet" for name in done]

    def scores(self, check: str) -> npt.NDArray[np.float32]:
        """Return one check's scores, float32 ``[n]`` in [0, 1], higher = worse, NaN = not applicable.

        Raises:
            RunError: the run has no such check, or it was skipped; the error says why.
        """
        known = self.record.get("checks", {})
        if check not in known:
            raise RunError(self.path, f"has no check {check!r}", nearest(check, known))
        if known[check]["state"] != "done":
            raise RunError(self.path, f"{check} did not run: {known[check]['reason']}", "see: imagenet-audit checks")
        return open_array(self.path / "scores" / f"{check}.npy", len(self), kind="f", dimensions=1)

    def source(self) -> Source:
        """Open the dataset the run was made from. Raises SourceError where it is gone or moved."""
        from audit.sources import open_source, source_options

        place = self.record["source"].get("absolute") or self.record["source"]["location"]
        try:
            return open_source(place, source_options(self.record["options"]["source"]))
        except SourceError as error:
            if "://" in place or Path(place).exists():
                raise
            problem = f"the dataset is not where the scan found it ({error.problem})"
            raise SourceError(place, problem, "put it back there, or scan it anew where it is now") from error


def open_run(path: str | Path) -> Run:
    """Open a finished run; see ``Run``.

    Raises:
        RunError: as ``Run``, or its scan is not finished: what it has not found yet would count as clean.
    """
    run = Run(path)
    if not run.record.get("finished", True):  # records of the first version do not say
        raise RunError(path, "its scan is not finished", "run the same scan command again: it continues where it was")
    return run

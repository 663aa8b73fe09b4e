"""A run: its record, and its tables, which are read at first use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.errors import RunError, SourceError, nearest
from audit.io.artifacts import open_array, read_in_blocks, read_json, read_rows, refuse_links, to_frame
from audit.run.findings_index import Page, Where, read_index, read_page, select
from audit.run.identity import content_keys
from audit.run.issues import issue_ids, issues
from audit.run.previous import tables_of
from audit.run.ranking import ranked
from audit.run.record_schema import damage, schema_version
from audit.run.tables import conforming, corrupt, fields, open_rows, read_faces, read_label_quality, read_pairs, read_samples
from audit.sources.storage.problems import NOT_LISTED
from audit.tables import SAMPLES, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.notebook import Shown
    from audit.sources import Source

RECORD = "run.json"


class Run:
    """A run directory, read-only, whether or not its scan is finished; see `open_run`. Row *i* of every table and array is sample *i*.

    Args:
        path: the directory that ``imagenet-audit scan --out`` wrote.
        source: where its dataset is; by default, where this machine scanned it.
        tables: the folder with the record and the tables; ``path`` by default.

    Raises:
        RunError: the directory holds no run, contains links, its images are not ingested yet, or a newer version wrote it.
    """

    def __init__(self, path: str | Path, *, source: str | None = None, tables: Path | None = None) -> None:
        self.path, self._named_source = Path(path), source
        self.tables = self.path if tables is None else tables
        """The folder with the record and the tables: while a scan updates the run, its last finished version (`audit.run.previous`)."""
        if not (self.tables / RECORD).is_file():
            raise RunError(path, "not a run directory: it has no run.json", "create a run with: imagenet-audit scan SOURCE --out RUN")
        refuse_links(self.path)
        self.record: dict[str, Any] = read_json(self.tables / RECORD)
        found = schema_version(self.record)
        if found is None:
            hint = f"if this is a dataset, remove {RECORD} from it; else create a run with: imagenet-audit scan SOURCE --out RUN"
            raise RunError(self.tables / RECORD, "not the record of a run: it has no schema_version", hint)
        if found > SCHEMA_VERSION:
            newer = f"written by a newer version (schema {found}; this version reads up to {SCHEMA_VERSION})"
            raise RunError(path, newer, "update imagenet-audit")
        if not (self.tables / "samples.parquet").is_file():
            raise RunError(path, "its scan was interrupted before all images were read", "run the same scan command again to resume")
        problem = damage(self.record)
        if problem is not None:
            raise RunError(self.tables / RECORD, f"corrupt: {problem}", "delete this file and scan again")

    def __len__(self) -> int:
        """Return the number of listed samples."""
        return int(self.record["counts"]["listed"])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Columns of ``audit.tables.SAMPLES``."""
        return to_frame(read_samples(self.tables, len(self)))

    @cached_property
    def sample_ids(self) -> pa.ChunkedArray:
        """Every sample's id; as an Arrow array, which takes a tenth of the memory of Python strings."""
        return read_samples(self.tables, len(self), ["sample_id"])["sample_id"]

    @cached_property
    def identical_copies(self) -> dict[str, tuple[int, int]]:
        """Sample id -> (ordinal, number) among its byte-identical copies; without those samples that have none, which are (0, 1)."""
        import pandas as pd

        keys = pd.Series(self.content_keys)
        shared = np.flatnonzero((keys != 0) & keys.duplicated(keep=False))
        groups = keys.iloc[shared].groupby(keys.iloc[shared])
        ordinals = zip(groups.cumcount().tolist(), groups.transform("size").tolist(), strict=True)
        return dict(zip(self.sample_ids.take(shared).to_pylist(), ordinals, strict=True))

    @cached_property
    def content_keys(self) -> npt.NDArray[np.uint64]:
        """uint64 ``[n]``: 64 bits of each sample's content id, 0 without one; see `audit.run.identity.content_keys`."""
        return read_in_blocks(self.tables / "samples.parquet", "content_id", content_keys, rows=len(self))

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float16]:
        """float16 ``[n, d]`` unit rows; NaN rows for failed images."""
        return open_rows(self.tables, "embeddings", len(self))

    @cached_property
    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """uint8 ``[n, side, side, 3]``: each whole image, resized to a square."""
        return open_rows(self.tables, "thumbnails", len(self))

    @cached_property
    def features(self) -> npt.NDArray[np.uint8]:
        """uint8 ``[n, FEATURES, FEATURE_BYTES]`` local features, as `audit.images.local_features.features` describes them."""
        return open_rows(self.tables, "features", len(self))

    @cached_property
    def neighbors(self) -> npt.NDArray[np.int32]:
        """int32 ``[n, k]`` rows, nearest first; -1 for none."""
        return open_rows(self.tables, "neighbors", len(self))

    @cached_property
    def similarities(self) -> npt.NDArray[np.float32]:
        """float32 ``[n, k]`` cosines; NaN for none."""
        return open_rows(self.tables, "similarities", len(self))

    def neighbors_of(self, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return one row of `neighbors` and of `similarities`. Raises RunError if it refers to a row that does not exist."""
        near, similarities = self.neighbors[row], self.similarities[row]
        name, problem = "neighbors.npy", None
        if near.shape != similarities.shape:
            name, problem = "similarities.npy", f"has {len(similarities)} columns, but neighbors.npy has {len(near)}"
        elif near.max(initial=-1) >= len(self) or near.min(initial=-1) < -1:
            problem = f"row {row} refers to rows that do not exist ({near.min()} to {near.max()} of {len(self)})"
        if problem is not None:
            raise corrupt(self.tables / name, problem)
        return near, similarities

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Verified pairs; columns of ``audit.tables.PAIRS``."""
        return to_frame(read_pairs(self.tables, len(self)))

    @cached_property
    def predictions(self) -> npt.NDArray[np.float32]:
        """float32 ``[n, c]`` out-of-sample class probabilities; columns as in ``classes``. Raises RunError if there are none."""
        found = open_rows(self.tables, "predictions", len(self))
        if found.shape[1] != len(self.classes):
            raise corrupt(self.tables / "predictions.npy", f"has {found.shape[1]} columns for {len(self.classes)} classes")
        return found

    @cached_property
    def label_quality(self) -> pd.DataFrame:
        """The judgement of each given label; columns of ``audit.tables.LABEL_QUALITY``. Raises RunError if there are no predictions."""
        return to_frame(read_label_quality(self.tables, len(self)))

    @cached_property
    def faces(self) -> pd.DataFrame:
        """Detected faces; columns of ``audit.tables.FACES``. Raises RunError if the scan detected none."""
        return to_frame(read_faces(self.tables, len(self)))

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
        """All findings without messages and evidence, worst first, and their ``issue_id``; see `audit.run.findings_index` and `audit.run.issues`."""
        found = read_index(self._findings_files)
        kinds = {name: check.get("kinds", ()) for name, check in self.record.get("checks", {}).items()}
        return found.assign(issue_id=issue_ids(found, kinds))

    @cached_property
    def issues(self) -> pd.DataFrame:
        """What there is to look at, worst first: findings that say the same thing count as one; see `audit.run.issues.issues`.

        ``findings_page({"issue_id": ...})`` returns the findings of an issue.
        """
        return issues(self.findings_index)

    def findings_page(self, where: Where | None = None, *, precision: pd.DataFrame | None = None, offset: int = 0, limit: int | None = None) -> Page:
        """Return one page of findings, worst first; messages and evidence are read for that page only.

        Args:
            where: column -> the wanted value or values: ``{"check": "label_errors", "split": ["train", "val"]}``.
            precision: each check's precision so far, which changes the order; see `audit.run.ranking.ranked`.
            offset: number of findings to skip.
            limit: maximum number to return.

        Raises:
            AuditError: unknown column.
        """
        chosen = select(self.findings_index, where or {})
        if precision is not None:
            chosen = ranked(chosen, precision)
        return read_page(self._findings_files, chosen, offset=offset, limit=limit)

    def show(self, check: str | None = None, *, limit: int = 12, **where: str | Collection[str]) -> Shown:
        """Return some findings with their images, worst first, for a notebook: ``run.show("label_errors", label="cat")``.

        Args:
            check: a check; all if None.
            limit: maximum number of findings.
            where: column of the findings -> the wanted value or values.

        Raises:
            AuditError: unknown column.
        """
        from audit.run.notebook import findings

        return findings(self, {**where, **({"check": check} if check else {})}, limit)

    def _repr_html_(self) -> str:
        """Return the run's counts and first findings, which a notebook shows."""
        from audit.run.notebook import overview

        return overview(self).html

    def read_findings(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return rows of `findings_index` in their order, with messages and evidence."""
        return read_page(self._findings_files, chosen).rows

    def columns(self, *names: str, rows: npt.NDArray[np.int64] | None = None) -> pd.DataFrame:
        """Return some columns of ``audit.tables.SAMPLES``, for all samples or for some rows in the given order; reads nothing else."""
        if rows is None:
            return to_frame(read_samples(self.tables, len(self), names))
        path = self.tables / "samples.parquet"
        return to_frame(conforming(fields(SAMPLES, names), read_rows(path, np.asarray(rows, np.int64), list(names)), path))

    def rows_of(self, sample_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the row of each sample id; -1 for an unknown one."""
        import pandas as pd
        import pyarrow.compute as pc

        wanted = pd.Index(list(sample_ids))
        positions = pc.index_in(self.sample_ids, value_set=pa.array(wanted.unique(), pa.string()))
        rows = np.flatnonzero(positions.is_valid())
        row_of = np.full(len(wanted.unique()), -1, np.int64)
        row_of[positions.take(rows).to_numpy()] = rows
        return row_of[wanted.unique().get_indexer(wanted)]

    @property
    def not_listed(self) -> list[str]:
        """Parts of the dataset that could not be listed, one sentence each; empty if the tables contain every image."""
        found = self.record.get("source", {}).get("problems")
        problems = [problem for problem in found if isinstance(problem, Mapping)] if isinstance(found, list) else []
        return [str(problem.get("message")) for problem in problems if problem.get("kind") == NOT_LISTED]

    @property
    def _findings_files(self) -> list[Path]:
        done = (name for name, check in sorted(self.record.get("checks", {}).items()) if check["state"] == "done")
        return [self.tables / "findings" / f"{name}.parquet" for name in done]

    def scores(self, check: str) -> npt.NDArray[np.float32]:
        """Return one check's scores, float32 ``[n]`` in [0, 1], higher = worse, NaN = not applicable. Raises RunError if it did not run."""
        known = self.record.get("checks", {})
        if check not in known:
            raise RunError(self.path, f"has no check {check!r}", nearest(check, known))
        if known[check]["state"] != "done":
            raise RunError(self.path, f"{check} did not run: {known[check]['reason']}", "see: imagenet-audit checks")
        return open_array(self.tables / "scores" / f"{check}.npy", len(self), kind="f", dimensions=1)

    def source(self) -> Source:
        """Open the scanned dataset. Raises SourceError if it was moved or removed, or if neither the user nor a scan on this machine named it."""
        from audit.run.scanned_datasets import public, recall
        from audit.sources import open_source

        location, table = self.record["source"].get("absolute") or self.record["source"]["location"], self.record["options"]["source"]
        if self._named_source is not None:
            return open_source(self._named_source, public(table))
        options = recall(location, table)
        if options is None:
            problem = "was not scanned on this machine, so a run that names it does not open it"
            raise SourceError(location, problem, "if you trust the run, pass the dataset with --source")
        try:
            return open_source(location, options)
        except SourceError as error:
            if "://" in location or Path(location).exists():
                raise
            problem = f"the dataset is not where the scan found it ({error.problem})"
            raise SourceError(location, problem, "move it back, or scan it at its new location") from error


def open_run(path: str | Path, *, source: str | None = None) -> Run:
    """Open a finished run; see `Run`. While a scan updates the run, and after such a scan was killed, this is the version before.

    Raises RunError as ``Run`` does, or if no scan was finished: missing findings would count as clean.
    """
    run = Run(path, source=source, tables=tables_of(Path(path)))
    if not run.record.get("finished", True):  # records of the first version lack the key
        raise RunError(path, "its scan is not finished", "run the same scan command again to resume")
    return run

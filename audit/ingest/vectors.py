"""Embeddings that the user has: read, put into row order, and validated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from audit.backbones.base import Backbone, Embedder, Preprocessing
from audit.backbones.hub import file_sha256
from audit.errors import AuditError, BackboneError, nearest, reason
from audit.io.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch

ID_COLUMNS = ("sample_id", "path")
"""Names of the column of a Parquet file that identifies the image."""

_ENDINGS = (".npy", ".parquet")
_HINT = "pass a .npy or .parquet file of embeddings"
_MOST_DIMENSIONS = 65_536


@dataclass(frozen=True, slots=True)
class Vectors:
    """The embeddings of a file, in the order of the run's rows."""

    file: Path
    values: npt.NDArray[np.floating]
    """``[n, d]``, finite, no row of zeros; may be memory-mapped."""
    sha256: str
    unknown: int = 0
    """Number of ids in the file that the dataset lacks."""

    def rows(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """Return embeddings of length 1, float16 ``[m, d]``, and their former lengths, ``[m]``."""
        found = np.asarray(self.values[rows], np.float32)
        norms = np.linalg.norm(found, axis=1)
        return (found / norms[:, None]).astype(np.float16), norms

    def backbone(self) -> Backbone:
        """Return the record that takes the place of a backbone's."""
        return Backbone(
            name=f"vectors:{self.file.name}",
            weights_id=f"vectors {self.sha256}",
            dimension=int(self.values.shape[1]),
            preprocessing=Preprocessing(input_size=8, resize=8, resampling="bilinear", mean=(0, 0, 0), std=(1, 1, 1), squash=True),
            licence="depends on your embeddings",
            source=f"embeddings of {self.file.name}",
            build=partial(_no_model, str(self.file)),
            cpu_model=_NoModel(int(self.values.shape[1])),
            cpu_runtime="none",
            on_gpu=False,
        )


def _no_model(file: str) -> torch.nn.Module:
    raise BackboneError(file, "holds embeddings and no model", "scan with --backbone")


@dataclass(frozen=True, slots=True)
class _NoModel:
    """Stands in for a model where images are read for their pixels only; `audit.ingest.staging` stores the file's embeddings."""

    dimension: int

    def open(self, threads: int) -> Embedder:
        """Return itself."""
        del threads
        return self

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return ones."""
        return np.ones((len(batch), self.dimension), np.float32)


def refuse_vectors(path: str) -> None:
    """Raise AuditError if the file does not exist or has an unsupported type; does not read it."""
    file = Path(path)
    if not file.is_file():
        raise AuditError(file, "is a folder" if file.is_dir() else "no such file", _HINT)
    if file.suffix not in _ENDINGS:
        raise AuditError(file, f"unknown file type {file.suffix!r}", f"use {' or '.join(_ENDINGS)}")


def load_vectors(path: str, sample_ids: Sequence[str]) -> Vectors:
    """Read embeddings from ``.npy`` (row order) or Parquet (by a column ``sample_id`` or ``path``).

    Args:
        path: the file. In Parquet, the embeddings are the only column of lists, or else all columns of decimal numbers.
        sample_ids: sample ids of the dataset, in row order.

    Raises:
        AuditError: the file cannot be read, its shape or ids do not match, or a row has NaN, infinity or only zeros. ``where`` is the file and row.
    """
    refuse_vectors(path)
    file, unknown = Path(path), 0
    values = _array(file, len(sample_ids))
    if file.suffix == ".parquet":
        values, unknown = _table(file, sample_ids)
    for part in blocks(np.arange(len(values)), values.shape[1]):
        block = np.asarray(values[part], np.float32)
        bad = ~np.isfinite(block).all(1)
        if bad.any():
            at = int(part[bad.argmax()])
            raise AuditError(f"{file}: row {at} ({sample_ids[at]})", "contains NaN or infinity", "write a finite embedding for every image")
        if (zero := ~block.any(1)).any():
            at = int(part[zero.argmax()])
            raise AuditError(f"{file}: row {at} ({sample_ids[at]})", "contains only zeros", "write an embedding with a direction for every image")
    return Vectors(file, values, file_sha256(file), unknown)


def _array(file: Path, rows: int) -> npt.NDArray[np.floating]:
    if file.suffix != ".npy":
        return np.empty((0, 0), np.float32)
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AuditError(file, f"not a NumPy array: {reason(error)}", "save it with numpy.save, without objects") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        shape, kind = getattr(found, "shape", "?"), getattr(found, "dtype", "?")
        raise AuditError(file, f"not a numeric 2-D array (shape {shape}, dtype {kind})", "save numbers of shape (images, dimension)")
    if len(found) != rows:
        problem = f"has {len(found):,} rows, but the dataset has {rows:,} images"
        raise AuditError(file, problem, "save one row per image in the order of sample ids, or use Parquet with a column sample_id")
    _refuse_dimension(file, found.shape[1])
    return found


def _refuse_dimension(file: Path, dimension: int) -> None:
    if not 2 <= dimension <= _MOST_DIMENSIONS:
        raise AuditError(file, f"its embeddings have dimension {dimension:,}", f"use 2 to {_MOST_DIMENSIONS:,} numbers per image")


def _table(file: Path, sample_ids: Sequence[str]) -> tuple[npt.NDArray[np.floating], int]:
    """Return the embeddings of a Parquet file in the dataset's order, and the number of ids that the dataset lacks."""
    try:
        table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AuditError(file, f"not a Parquet file: {reason(error)}", "save it again as Parquet") from None
    key = next((name for name in ID_COLUMNS if name in table.column_names), None)
    if key is None:
        hint = nearest("sample_id", table.column_names) if table.column_names else "add one"
        raise AuditError(file, "has no column sample_id or path", f"name the column that identifies the image; {hint}")
    values = _matrix(file, table.drop_columns([key]))
    index = pd.Index(table[key].cast(pa.string()).to_pandas())
    if index.has_duplicates:
        raise AuditError(file, f"lists {index[index.duplicated()][0]!r} twice", "keep one row per image")
    at = index.get_indexer(pd.Index(sample_ids))
    if (lost := at < 0).any():
        problem = f"has no row for {int(lost.sum()):,} of {len(at):,} images, such as {sample_ids[int(lost.argmax())]!r}"
        raise AuditError(file, problem, f"write one row per image; column {key} holds the ids of samples.parquet")
    return values[at], len(index) - len(at)


def _matrix(file: Path, table: pa.Table) -> npt.NDArray[np.floating]:
    lists = [field.name for field in table.schema if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)]
    numeric = [field.name for field in table.schema if pa.types.is_floating(field.type)]  # whole numbers are labels or counts
    if len(lists) > 1 or not (lists or numeric):
        problem = f"has {len(lists)} columns of lists: {', '.join(lists)}" if lists else "has no column of numbers"
        raise AuditError(file, problem, "keep one column with the embedding, or one column per dimension")
    try:
        if lists:
            column = table[lists[0]].combine_chunks()
            widths = (
                {len(value) if value is not None else 0 for value in column.to_pylist()} if pa.types.is_list(column.type) else {column.type.list_size}
            )
            if len(widths) != 1:
                raise AuditError(
                    file, f"its embeddings have {len(widths)} different dimensions, {min(widths)} to {max(widths)}", "write them all at one"
                )
            _refuse_dimension(file, next(iter(widths)))
            flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
            found: npt.NDArray[np.floating] = flat.reshape(len(column), -1)
        else:
            found = np.column_stack([table[name].cast(pa.float32()).to_numpy() for name in numeric])
            _refuse_dimension(file, found.shape[1])
    except (ValueError, pa.ArrowException) as error:
        raise AuditError(file, f"its embeddings are not numbers: {reason(error)}", "write one list of numbers per image") from None
    return found

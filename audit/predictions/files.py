"""Read files of class probabilities in blocks: ``.npy``, Parquet and CSV."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audit.errors import AuditError
from audit.io.blocks import blocks, rows_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import numpy.typing as npt
    import pandas as pd

ID_COLUMN = "sample_id"

_READ_AHEAD = 32_000_000
"""Bytes buffered for all columns of a Parquet file: without a limit the reader holds a whole row group, which may be the whole file."""


class Block(NamedTuple):
    """Some rows of a file."""

    values: npt.NDArray[Any]
    """``[m, c]`` in the order of the dataset's classes."""
    rows: npt.NDArray[np.int64]
    """``[m]`` rows of the dataset."""
    where: Callable[[int], str]
    """Returns file and line or row of a row of the block, for messages."""


def array_blocks(file: Path, rows: int, classes: list[str]) -> Iterator[Block]:
    """Return the blocks of a ``.npy`` file in row order. Raises AuditError if it is not one, or has another shape."""

    def opened() -> Any:
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise AuditError(file, f"not a NumPy array: {error}", "save it with numpy.save, without objects") from None

    shape = (rows, len(classes))
    found = opened()
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        problem = f"not a numeric 2-D array (shape {getattr(found, 'shape', '?')}, dtype {getattr(found, 'dtype', '?')})"
        raise AuditError(file, problem, f"save numbers of shape {shape}")
    if found.shape != shape:
        order = f"columns {', '.join(map(repr, classes[:3]))}{', ...' if len(classes) > 3 else ''}"
        problem = f"has shape {found.shape}, but the dataset has {rows} samples and {len(classes)} classes"
        raise AuditError(file, problem, f"save one row per sample in the order of samples.parquet, {order}; or use a table with a column {ID_COLUMN}")
    del found

    def read() -> Iterator[Block]:
        for part in blocks(np.arange(rows), len(classes)):
            # Reopened for each block: pages of a closed map do not count as memory.
            values = np.array(opened()[part[0] : part[-1] + 1])
            yield Block(values, part, lambda at, part=part: f"{file}: row {part[at]}")  # type: ignore[misc]

    return read()


def table_columns(file: Path, classes: list[str], warnings: list[str], unknown: list[str]) -> tuple[list[str], bool]:
    """Return the table's columns, and whether it has probabilities of classes that the dataset lacks.

    Args:
        file: Parquet or CSV.
        classes: classes of the dataset.
        warnings: warnings are appended.
        unknown: classes without a column are appended.

    Raises:
        AuditError: the table is empty, or its columns do not match.
    """
    head = next(_frames(file), None)
    if head is None or not len(head):
        raise AuditError(file, "is empty", f"write a header and one row per sample: {ID_COLUMN} and a column per class")
    columns = [str(name) for name in head.columns]
    there, wanted = set(columns), {ID_COLUMN, *classes}
    unknown += [name for name in classes if name not in there]
    known = [name for name in classes if name in there]
    if len(known) < min(2, len(classes)):
        problem = f"no column for class {unknown[0]!r} ({len(unknown)} of {len(classes)} classes have no column)"
        raise AuditError(file, problem, "name one column after each class")
    if unknown:
        shown = ", ".join(map(repr, unknown[:3]))
        warnings.append(f"{len(unknown)} of {len(classes)} classes have no column in {file.name}; images with these labels are not judged: {shown}.")
    import pandas as pd

    for name in known:
        if not pd.api.types.is_numeric_dtype(head[name]):
            raise AuditError(file, f"column {name!r} contains text", "write numbers between 0 and 1")
    extra = [name for name in columns if name not in wanted]
    if extra:
        warnings.append(f"{len(extra)} columns of {file.name} match no class of the dataset and are ignored: {', '.join(extra[:3])}.")
    return columns, any(pd.api.types.is_float_dtype(head[name]) for name in extra)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Convert errors of reading a table to AuditError."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AuditError(file, f"cannot be read: {str(error).splitlines()[0]}", "save it again as CSV or Parquet") from None


def shape_of(file: Path) -> tuple[list[str], int]:
    """Return the column names and the number of rows of a table. Raises AuditError if it cannot be read."""
    import pandas as pd
    import pyarrow.parquet as pq

    with _readable(file):
        if file.suffix == ".parquet":
            with pq.ParquetFile(file) as parts:
                return [str(name) for name in parts.schema_arrow.names], int(parts.metadata.num_rows)
        names = [str(name) for name in pd.read_csv(file, nrows=0).columns]
        with pd.read_csv(file, usecols=[0], dtype=str, chunksize=_LINES_AT_ONCE) as reader:
            return names, sum(len(part) for part in reader)


_LINES_AT_ONCE = 65_536

_LEAST_AT_ONCE = 1_024
"""Minimum rows per block of a table, for any number of columns: each column of a block has a fixed cost."""


def _frames(file: Path, wanted: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield a table in parts, at least one unless it is empty; column names are text.

    Args:
        file: Parquet or CSV.
        wanted: columns to read; None for all.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    with _readable(file):
        if file.suffix == ".parquet":
            with pq.ParquetFile(file) as parts:
                names = [name for name in parts.schema_arrow.names if wanted is None or name in wanted]
            with pq.ParquetFile(file, buffer_size=max(4096, _READ_AHEAD // max(len(names), 1))) as parts:
                for batch in parts.iter_batches(max(_LEAST_AT_ONCE, rows_at_once(len(names))), columns=names):
                    yield batch.to_pandas().rename(columns=str)
        else:
            every = len(pd.read_csv(file, nrows=0).columns)
            some = None if wanted is None else lambda name: name in wanted
            with pd.read_csv(file, dtype={ID_COLUMN: str}, usecols=some, chunksize=max(_LEAST_AT_ONCE, rows_at_once(every))) as reader:
                for part in reader:
                    yield part.rename(columns=str)


def table_blocks(file: Path, columns: list[str], sample_ids: Sequence[str], classes: Sequence[str], warnings: list[str]) -> Iterator[Block]:
    """Yield the blocks of a table, by sample id if it has that column, else in row order.

    Args:
        file: Parquet or CSV.
        columns: as returned by `table_columns`.
        sample_ids: sample ids of the dataset, in row order.
        classes: classes of the dataset; one without a column gets 0.
        warnings: warnings are appended.

    Raises:
        AuditError: the rows do not match the dataset's.
    """
    import pandas as pd

    there = set(columns)
    places = [at for at, name in enumerate(classes) if name in there]
    known = [classes[at] for at in places]
    by_id = ID_COLUMN in there
    index = pd.Index(np.array(sample_ids, dtype=object))
    filled = np.zeros(len(sample_ids), bool)
    start = strangers = 0
    first: object = None
    for frame in _frames(file, {ID_COLUMN, *known}):
        values = np.zeros((len(frame), len(classes)), np.float32)
        values[:, places] = _numbers(file, frame[known])
        if by_id:
            ids = frame[ID_COLUMN].astype(object)
            first = ids.iloc[0] if first is None and len(ids) else first
            rows = index.get_indexer(pd.Index(ids))
            repeated = (rows >= 0) & (pd.Series(rows).duplicated().to_numpy() | filled[rows])
            if repeated.any():
                at = int(repeated.argmax())
                raise AuditError(f"{file}:{start + at + 2}", f"sample {ids.iloc[at]!r} appears twice", "keep one row per sample")
        else:
            rows = np.arange(start, start + len(frame))
            if start + len(frame) > len(sample_ids):
                break
        mine = rows >= 0
        strangers += int((~mine).sum())
        filled[rows[mine]] = True
        lines = start + 2 + np.flatnonzero(mine)
        yield Block(values[mine], rows[mine].astype(np.int64), lambda at, lines=lines: f"{file}:{lines[at]}")  # type: ignore[misc]
        start += len(frame)
    if by_id and not filled.any() and len(sample_ids):
        problem = f"matches no sample of the dataset; its first id is {first!r}" if first is not None else "is empty"
        raise AuditError(file, problem, f"use the ids of samples.parquet, such as {sample_ids[0]!r}")
    if not by_id and not filled.all():
        problem = f"has {shape_of(file)[1]} rows and no column {ID_COLUMN!r}, but the dataset has {len(sample_ids)} samples"
        raise AuditError(file, problem, f"add a column {ID_COLUMN!r}, or write one row per sample in order")
    if strangers:
        warnings.append(f"{strangers} rows of {file.name} match no sample of the dataset and are ignored.")


def _numbers(file: Path, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # values that overflow are reported as not a probability
            return frame.to_numpy(np.float32)
    except (ValueError, TypeError):
        text = next(name for name in frame if not _is_number(frame[name]))
        raise AuditError(file, f"column {text!r} contains text", "write numbers between 0 and 1") from None


def _is_number(column: pd.Series) -> bool:
    try:
        column.to_numpy(np.float64)
    except (ValueError, TypeError):
        return False
    return True

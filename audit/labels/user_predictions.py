"""Predictions a person brings along: read, put into row order, and checked before anything relies on them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audit.artifacts import release
from audit.errors import AuditError
from audit.labels.large_tables import blocks, rows_at_once
from audit.labels.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import numpy.typing as npt
    import pandas as pd

ID_COLUMN = "sample_id"

KINDS = (".npy", ".parquet", ".csv")
"""How predictions may be stored."""

_SUM_TOLERANCE = 0.01
"""Row sums may differ from 1 by this much: float16 with 1,000 classes stays below."""

_IN_SAMPLE_AGREEMENT = 0.995
"""A model that agrees with this share of the labels and is this sure of them has seen them: on CIFAR-10's test images even a network of
state-of-the-art accuracy agrees less, and labels are wrong more often than that in most datasets."""

_OTHER_CLASSES = 0.01
"""Where a file has classes that the dataset lacks, a row needs this much probability on the dataset's own to say anything of it."""

_READ_AHEAD = 32_000_000
"""Bytes of all columns of a Parquet file together: without such a limit a reader holds a whole row group, which may be the whole file."""


class _Block(NamedTuple):
    """Some rows of a file."""

    values: npt.NDArray[Any]
    """``[m, c]`` in the order of the dataset's classes."""
    rows: npt.NDArray[np.int64]
    """``[m]`` rows of the dataset."""
    place: Callable[[int], str]
    """Where in the file a row of the block stands, for a person."""


def load_predictions(
    path: str | Path,
    sample_ids: Sequence[str],
    classes: Sequence[str],
    labels: npt.NDArray[np.integer] | None = None,
    *,
    several: bool = False,
    into: npt.NDArray[np.float32] | None = None,
) -> Predictions:
    """Read class probabilities from ``.npy`` (row order), Parquet or CSV (by a column ``sample_id``, or in row order without one).

    Read in blocks of 8 million cells, of 1,024 rows at least where it is a table: memory takes the result, unless that is a mapped file, and some
    hundred megabytes.

    Args:
        path: the file. Tables have one column per class, named by it, in any order; an array has its columns in the order of ``classes``.
        sample_ids: of the dataset, in row order.
        classes: of the dataset, in column order.
        labels: int ``[n]`` given class codes, -1 = none; with them predictions are checked for having been made in-sample.
        several: images have several labels, so that rows need not add up to 1.
        into: float32 ``[n, c]`` to write to, such as a file mapped into memory; a new array where None.

    Returns:
        float32 ``[n, c]``; NaN rows for samples the file has no row for, a column of zeros for a class it has no column for. The record holds
        ``warnings``, sentences for a person, and ``unknown_classes``, those without a column.

    Raises:
        AuditError: the file cannot be read, its shape or columns do not fit, or values are no probabilities. The place names file and row.
    """
    file = Path(path)
    refuse_predictions(file)
    warnings: list[str] = []
    unknown: list[str] = []
    if file.suffix == ".npy":
        read, extra = _array_blocks(file, len(sample_ids), list(classes)), False
    else:
        columns, extra = _columns(file, list(classes), warnings, unknown)
        read = _table_blocks(file, columns, sample_ids, classes, warnings)
    found = np.empty((len(sample_ids), len(classes)), np.float32) if into is None else into
    missing = np.ones(len(sample_ids), bool)
    worst, outside = 0.0, 0
    for block in read:
        rows, off, lost = _probabilities(block, several=several, extra=extra)
        found[block.rows] = rows
        missing[block.rows] = np.isnan(rows[:, :1]).any(1)
        worst, outside = max(worst, off), outside + lost
        release(found)
    for part in blocks(np.flatnonzero(missing), len(classes)):
        found[part] = np.nan
        release(found)
    covered = int((~missing).sum()) if len(classes) else 0
    if worst > _SUM_TOLERANCE and not extra:
        warnings.append(f"Rows of {file.name} add up to 1 only within {worst:.2g}; they were scaled.")
    if outside:
        warnings.append(f"{outside} rows of {file.name} say nothing of the dataset's classes and are left out.")
    if lost_rows := len(sample_ids) - covered - outside:
        warnings.append(f"{lost_rows} of {len(sample_ids)} samples have no prediction in {file.name} and are not judged.")
    if labels is not None:
        warnings += _in_sample(found, labels)
    return Predictions(found, {"source": file.name, "covered": covered, "unknown_classes": unknown, "warnings": warnings})


def row_count(path: str | Path) -> int:
    """Return how many rows a file in row order has; 0 for a table with sample ids, whose order does not matter. Raises as `load_predictions`."""
    file = Path(path)
    refuse_predictions(file)
    if file.suffix == ".npy":
        try:
            return len(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise AuditError(file, f"not a NumPy array: {error}", "save it with numpy.save, without objects") from None
    names, rows = _shape(file)
    return 0 if ID_COLUMN in names else rows


def refuse_predictions(path: str | Path) -> None:
    """Raise AuditError where there is no file, or not one that `load_predictions` reads; nothing is read yet."""
    file = Path(path)
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "no such file"
        raise AuditError(file, problem, "name a .npy, .parquet or .csv file of class probabilities")
    if file.suffix not in KINDS:
        raise AuditError(file, f"unknown kind {file.suffix!r}", f"use {', '.join(KINDS)}")


def _array_blocks(file: Path, rows: int, classes: list[str]) -> Iterator[_Block]:
    def opened() -> Any:
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise AuditError(file, f"not a NumPy array: {error}", "save it with numpy.save, without objects") from None

    shape = (rows, len(classes))
    found = opened()
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        problem = f"holds shape {getattr(found, 'shape', '?')}, type {getattr(found, 'dtype', '?')}"
        raise AuditError(file, problem, f"save numbers of shape {shape}")
    if found.shape != shape:
        order = f"columns {', '.join(map(repr, classes[:3]))}{', ...' if len(classes) > 3 else ''}"
        problem = f"has shape {found.shape}, but the dataset has {rows} samples and {len(classes)} classes"
        raise AuditError(file, problem, f"save one row per sample in the order of samples.parquet, {order}; or use a table with a {ID_COLUMN} column")
    del found

    def read() -> Iterator[_Block]:
        for part in blocks(np.arange(rows), len(classes)):
            # Opened anew each time: pages of a closed map no longer count as memory.
            values = np.array(opened()[part[0] : part[-1] + 1])
            yield _Block(values, part, lambda at, part=part: f"{file}: row {part[at]}")  # type: ignore[misc]

    return read()


def _columns(file: Path, classes: list[str], warnings: list[str], unknown: list[str]) -> tuple[list[str], bool]:
    """Return the table's columns and whether it has probabilities of classes that the dataset lacks."""
    head = next(_frames(file), None)
    if head is None or not len(head):
        raise AuditError(file, "is empty", f"write a header and one row per sample: {ID_COLUMN} and a column per class")
    columns = [str(name) for name in head.columns]
    there, wanted = set(columns), {ID_COLUMN, *classes}
    unknown += [name for name in classes if name not in there]
    known = [name for name in classes if name in there]
    if len(known) < min(2, len(classes)):
        problem = f"has no column for the class {unknown[0]!r} ({len(unknown)} of {len(classes)} are missing)"
        raise AuditError(file, problem, "name one column after each class")
    if unknown:
        shown = ", ".join(map(repr, unknown[:3]))
        warnings.append(f"{len(unknown)} of {len(classes)} classes have no column in {file.name}; images labelled so are not judged: {shown}.")
    import pandas as pd

    for name in known:
        if not pd.api.types.is_numeric_dtype(head[name]):
            raise AuditError(file, f"the column {name!r} holds text", "write numbers between 0 and 1")
    extra = [name for name in columns if name not in wanted]
    if extra:
        warnings.append(f"{len(extra)} columns of {file.name} belong to no class of the dataset and are left out: {', '.join(extra[:3])}.")
    return columns, any(pd.api.types.is_float_dtype(head[name]) for name in extra)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raise AuditError where a table turns out to be none."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AuditError(file, f"cannot be read: {str(error).splitlines()[0]}", "save it again as CSV or Parquet") from None


def _shape(file: Path) -> tuple[list[str], int]:
    """Return the names of a table's columns and the number of its rows."""
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
"""Rows of a table that are read together, however many columns it has: each column of a block takes its time as well."""


def _frames(file: Path, wanted: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield a table in parts, at least one unless it is empty; column names are text.

    Args:
        file: Parquet or CSV.
        wanted: the columns to read; all where None.
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


def _table_blocks(file: Path, columns: list[str], sample_ids: Sequence[str], classes: Sequence[str], warnings: list[str]) -> Iterator[_Block]:
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
                raise AuditError(f"{file}:{start + at + 2}", f"the sample {ids.iloc[at]!r} appears twice", "keep one row per sample")
        else:
            rows = np.arange(start, start + len(frame))
            if start + len(frame) > len(sample_ids):
                break
        mine = rows >= 0
        strangers += int((~mine).sum())
        filled[rows[mine]] = True
        lines = start + 2 + np.flatnonzero(mine)
        yield _Block(values[mine], rows[mine].astype(np.int64), lambda at, lines=lines: f"{file}:{lines[at]}")  # type: ignore[misc]
        start += len(frame)
    if by_id and not filled.any() and len(sample_ids):
        problem = f"names none of the dataset's samples; its first is {first!r}" if first is not None else "is empty"
        raise AuditError(file, problem, f"use the ids of samples.parquet, such as {sample_ids[0]!r}")
    if not by_id and not filled.all():
        problem = f"has {_shape(file)[1]} rows and no column {ID_COLUMN!r}, but the dataset has {len(sample_ids)} samples"
        raise AuditError(file, problem, f"add a column {ID_COLUMN!r}, or write one row per sample in order")
    if strangers:
        warnings.append(f"{strangers} rows of {file.name} name no sample of the dataset and are left out.")


def _numbers(file: Path, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what overflows is no probability, and is told of as such
            return frame.to_numpy(np.float32)
    except (ValueError, TypeError):
        text = next(name for name in frame if not _is_number(frame[name]))
        raise AuditError(file, f"the column {text!r} holds text", "write numbers between 0 and 1") from None


def _is_number(column: pd.Series) -> bool:
    try:
        column.to_numpy(np.float64)
    except (ValueError, TypeError):
        return False
    return True


def _probabilities(block: _Block, *, several: bool, extra: bool) -> tuple[npt.NDArray[np.float32], float, int]:
    """Check and normalise some rows; return them, how far a sum was off 1, and how many say nothing of the classes."""
    values = np.asarray(block.values, dtype=np.float32)
    nan = np.isnan(values)
    empty = nan.all(1)
    if (bad := nan.any(1) & ~empty).any():
        raise AuditError(block.place(int(bad.argmax())), "some classes are NaN, others are not", "write all of them, or leave the row out")
    within = (values >= -1e-6) & (values <= 1 + 1e-3)
    if (bad := ~within.all(1) & ~empty).any():
        row = int(bad.argmax())
        value = float(values[row][~within[row]][0])
        raise AuditError(block.place(row), f"{value:g} is not a probability", "pass probabilities, not logits: apply softmax first")
    values = np.clip(values, 0, 1)
    if several:
        return values, 0.0, 0
    total = values.sum(1)
    nothing = (total < _OTHER_CLASSES) & ~empty if extra else np.zeros(len(values), bool)
    off = np.where(empty | nothing, 0, np.maximum(total - 1, 0) if extra else np.abs(total - 1))
    if (off > 0.5).any():
        row = int((off > 0.5).argmax())
        raise AuditError(block.place(row), f"adds up to {total[row]:g}, not to 1", "pass a probability for each class")
    values[nothing] = np.nan
    values /= np.where(empty | nothing, 1, total)[:, None]
    return values, float(off.max(initial=0)), int(nothing.sum())


def _in_sample(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.integer]) -> list[str]:
    """Return what speaks against predictions having been made out of sample, or in the order of the classes."""
    classes = probabilities.shape[1]
    told, sure = [np.empty((0, 2), np.int64)], 0.0
    for part in blocks(np.flatnonzero(labels >= 0), classes) if classes else ():
        block = np.asarray(probabilities[part])
        finite = np.isfinite(block[:, 0])
        block, given = block[finite], labels[part][finite].astype(np.int64)
        told.append(np.column_stack([block.argmax(1), given]))
        sure += float(block[np.arange(len(given)), given].sum(dtype=np.float64))
        release(probabilities)
    predicted, given = np.concatenate(told).T
    if len(given) < 50:
        return []
    agreement, confidence = float((predicted == given).mean()), sure / len(given)
    if agreement >= _IN_SAMPLE_AGREEMENT and confidence >= 0.98:
        seen = f"The predictions agree with {agreement:.1%} of the labels, {confidence:.1%} sure: as if the model was trained on these very labels. "
        return [seen + "Label errors then stay hidden; pass out-of-sample predictions (cross-validation)."]
    # With the columns in another order a good model agrees with little, yet knows the classes apart: each column goes with one label.
    cells, counts = np.unique(predicted * classes + given, return_counts=True)
    best = np.zeros(classes, np.int64)
    np.maximum.at(best, cells // classes, counts)
    apart = best.sum() / len(given)
    if agreement < 0.5 / classes or (agreement < apart / 2 and apart > 0.3 and len(given) >= 10 * classes):
        other = f"The predictions agree with {agreement:.1%} of the labels, though columns and labels go together in {apart:.1%} some other way: "
        return [other + "are the columns in the order of the classes?"]
    return []

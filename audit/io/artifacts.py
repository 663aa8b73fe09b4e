"""Write a run's files atomically and read them with checks.

A small file is written under a temporary name and renamed. An array's disk space is allocated before it is filled, so that a full disk raises an
error instead of killing the process.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import RunError, reason

if TYPE_CHECKING:
    import pandas as pd

_ROWS_READ_TOGETHER = 65_536
"""Rows of a Parquet row group: few enough to read single rows quickly, enough to compress well."""

_CORRUPT = (ValueError, EOFError, OSError, pa.ArrowException, BadZipFile, RuntimeError, SyntaxError, TokenError)
"""Errors that readers of JSON, Parquet, ``.npy`` and ``.npz`` raise for corrupt files: NumPy parses an array's header as Python, and zipfile may ask
for a password."""

_PARTIAL = ".partial"

_RESCAN = "delete this file and scan again: only its stage is recomputed"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file next to ``path``; when the block ends without an error, flush it to disk and rename it to ``path``.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    with _renamed(path) as part, part.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """Yield a new name next to ``path``; when the block ends without an error, rename that file to ``path``, else remove it.

    The file gets the folder's default permissions, unlike a private temporary file.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename, error.filename2 = str(path), None
        raise


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder; there must be no active writer."""
    for path in folder.glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


def refuse_links(folder: Path) -> None:
    """Refuse a run directory with links or special files: through them, commands would show or overwrite files outside of it. Raises RunError."""
    pending = [os.fspath(folder)]
    while pending:
        try:
            found = os.scandir(pending.pop())
        except FileNotFoundError:  # a scan that runs now has moved it
            continue
        with found as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                    what = "link" if entry.is_symlink() else "device, pipe or socket"
                    raise RunError(entry.path, f"is a {what}, which a run never contains", "remove it, or scan again")


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; keys keep their order."""
    with replacing(path) as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def write_table(path: Path, table: pa.Table, *, rows_together: int = _ROWS_READ_TOGETHER) -> None:
    """Write a Parquet file atomically, with ``rows_together`` rows per row group, the smallest unit that is read."""
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=rows_together, write_page_checksum=True)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an ``.npy`` file atomically."""
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def filling(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[np.memmap[Any, np.dtype[Any]]]:
    """Map a temporary ``.npy`` file for an array larger than memory; when the block ends without an error, rename it to ``path``.

    Raises:
        OSError: the disk is full.
    """
    with _renamed(path) as part:
        array = create_array(part, shape, dtype)
        yield array
        array.flush()


def read_json(path: Path) -> Any:
    """Read JSON. Raises RunError if the file is corrupt."""
    return _reading(path, lambda: json.loads(path.read_text(encoding="utf-8")))


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file. Raises RunError if the file is corrupt."""
    return _reading(path, lambda: pq.read_table(path, columns=columns, partitioning=None, page_checksum_verification=True))


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns. Raises RunError if the file is corrupt."""
    return _reading(path, lambda: pq.read_schema(path).names)  # type: ignore[no-any-return]


def read_in_blocks(path: Path, column: str, of_block: Callable[[pa.Array], npt.NDArray[Any]], *, rows: int) -> npt.NDArray[Any]:
    """Read one column of a Parquet file in blocks, convert each with ``of_block``, and return the results as one array.

    Raises:
        RunError: the file is corrupt, lacks the column or does not have ``rows`` rows.
    """

    def read() -> npt.NDArray[Any]:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if column not in file.schema_arrow.names or file.metadata.num_rows != rows:
                raise ValueError(f"has {file.metadata.num_rows} rows of {', '.join(file.schema_arrow.names)}, not {rows} with {column}")
            blocks = [of_block(batch.column(0)) for batch in file.iter_batches(_ROWS_READ_TOGETHER, columns=[column])]
            return np.concatenate(blocks) if blocks else of_block(pa.array([], file.schema_arrow.field(column).type))

    return _reading(path, read)  # type: ignore[no-any-return]


def read_rows(path: Path, rows: npt.NDArray[np.int64], columns: list[str] | None = None) -> pa.Table:
    """Read some rows of a Parquet file, in the given order; only their row groups are read. Raises RunError if the file is corrupt."""

    def read() -> pa.Table:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            if rows.max(initial=-1) >= starts[-1]:
                raise ValueError(f"has {starts[-1]} rows and no row {rows.max()}")
            group_of = np.searchsorted(starts, rows, side="right") - 1
            needed = np.unique(group_of)
            table = file.read_row_groups(needed.tolist(), columns=columns)
            before = np.cumsum([0, *(sizes[group] for group in needed)])[:-1]
            return table.take(pa.array(before[np.searchsorted(needed, group_of)] + rows - starts[group_of]))

    return _reading(path, read)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame; columns of 64-bit hashes with nulls keep all bits."""
    import pandas as pd

    return table.to_pandas(types_mapper={pa.uint64(): pd.UInt64Dtype()}.get)  # type: ignore[no-any-return]


def open_array(path: Path, rows: int | None = None, *, kind: str | None = None, dimensions: int | None = None) -> npt.NDArray[Any]:
    """Map an ``.npy`` file into memory, read-only.

    Args:
        path: the file.
        rows: required number of rows; any if None.
        kind: required kind of dtype: ``f``, ``i`` or ``u``; any if None.
        dimensions: required number of dimensions; any if None.

    Raises:
        RunError: the file is missing, corrupt or does not match the requirements.
    """
    array = _reading(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if array.dtype.kind != (kind or array.dtype.kind) or array.ndim != (array.ndim if dimensions is None else dimensions):
        raise RunError(path, f"corrupt: contains {array.dtype} in {array.ndim} dimensions", _RESCAN)
    if rows is not None and array.shape[:1] != (rows,):
        raise RunError(path, f"has shape {array.shape}, but the run has {rows} samples", _RESCAN)
    return array  # type: ignore[no-any-return]


def read_arrays(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an ``.npz`` file. Raises RunError if it is missing, corrupt or lacks one of the names."""

    def read() -> dict[str, npt.NDArray[Any]]:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, own_fid=False, allow_pickle=False) as stored:
            if lacking := sorted({*names} - {*stored}):
                raise ValueError(f"has no {', '.join(lacking)}")
            return dict(stored)

    return _reading(path, read)  # type: ignore[no-any-return]


def reopen_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, np.dtype[Any]]:
    """Map an array created by `create_array` for writing again. Raises RunError if it is missing, corrupt, or of another shape or length."""
    array = open_array(path)  # mapping a truncated file for writing would fill it with zeros instead of refusing it
    expected = np.dtype(dtype)
    offset = getattr(array, "offset", 0)
    if (array.shape, array.dtype) != (shape, expected) or path.stat().st_size != offset + array.nbytes:
        raise RunError(path, f"corrupt: is not an array of {expected} with shape {shape}", _RESCAN)
    return np.load(path, mmap_mode="r+", allow_pickle=False)  # type: ignore[no-any-return]


def release(*arrays: object) -> None:
    """Release the resident pages of mapped arrays; their content stays in the file and in the page cache. Ignores anything else.

    Resident pages count as memory of the process, which could exceed its memory limit.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def create_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, np.dtype[Any]]:
    """Create an ``.npy`` file of zeros with its disk space allocated, and map it for writing. Raises OSError if the disk is full."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    with path.open("r+b") as file:
        size = path.stat().st_size
        # Writing to a sparse mapped file on a full disk kills the process; allocating the blocks first raises instead.
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
    return array


def _reading(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError:
        raise RunError(path, "this file of the run is missing", "run the same scan again: only missing stages are computed") from None
    except _CORRUPT as error:
        raise RunError(path, f"corrupt: {reason(error)}", _RESCAN) from error

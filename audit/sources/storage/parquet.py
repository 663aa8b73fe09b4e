"""Parquet files from anybody: a repeated value takes almost no space in the file, and gigabytes once it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.errors import SourceError
from audit.sources.storage.parquet_footer import columns_of

_MOST_VALUES = 1 << 27
"""Values of a column in a row group; writers use a million rows at most."""
_MOST_BYTES = 8 << 30
"""Uncompressed bytes of a column in a row group."""
_LONGEST_CELL = 64 << 10
"""Bytes of a text in a listing: 65,536 rows are held at a time."""
_BYTES_AT_ONCE = 16 << 20


def open_parquet(file: BinaryIO, location: str) -> pq.ParquetFile:
    """Open a Parquet file; repeated values are stored once in memory too. Raises SourceError if a row group is too large, else ArrowInvalid."""
    packed = set()
    try:
        for column in columns_of(file):
            if column.values > _MOST_VALUES or column.uncompressed > _MOST_BYTES:
                size = f"{column.values:,} values, {column.uncompressed:,} bytes"
                raise SourceError(location, f"column {column.path} is too large ({size})", "write the file with smaller row groups")
            packed |= {column.path} if column.is_dictionary else set()
    except ValueError as error:
        raise pa.ArrowInvalid(str(error)) from error
    file.seek(0)
    try:
        return pq.ParquetFile(file, read_dictionary=sorted(packed))
    except KeyError as error:
        raise pa.ArrowInvalid(f"a row group has a column {error} that the schema lacks") from error


def rows_of(table: pa.Table | pa.RecordBatch, location: str) -> Iterator[dict[str, Any]]:
    """Yield rows as Python values, few at a time. Raises SourceError if a text is too long for a listing."""
    longest = 1
    for name, column in zip(table.column_names, table.columns, strict=True):
        length = max((_longest(chunk) for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])), default=0)
        if length > _LONGEST_CELL:
            raise SourceError(location, f"column {name} has a text of {length:,} bytes; the limit is {_LONGEST_CELL:,}", "remove the column")
        longest += length
    step = max(_BYTES_AT_ONCE // longest, 1)
    for start in range(0, table.num_rows, step):
        yield from table.slice(start, step).to_pylist()


def _longest(array: pa.Array) -> int:
    """Return the length in bytes of the longest text in an array, also inside of lists and structs."""
    if pa.types.is_dictionary(array.type):
        return _longest(array.dictionary)
    if pa.types.is_struct(array.type):
        return max((_longest(array.field(number)) for number in range(array.type.num_fields)), default=0)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _longest(array.values)
    if (
        pa.types.is_string(array.type)
        or pa.types.is_binary(array.type)
        or pa.types.is_large_string(array.type)
        or pa.types.is_large_binary(array.type)
    ):
        return int(pc.max(pc.binary_length(array)).as_py() or 0)
    return 0

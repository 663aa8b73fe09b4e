"""Read what a Parquet file's footer says about its columns: Arrow's own reader ends the process for some damaged footers.

Sources of the formats: apache/parquet-format, parquet.thrift; apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

_MAGIC = b"PAR1"
_DEEPEST, _LONGEST = 32, 16 << 20
"""Structures within each other, of which a footer has fewer than ten; bytes of a footer, each of which may take a hundred in memory."""

_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_TYPE, _ENCODINGS, _PATH, _VALUES, _UNCOMPRESSED = 1, 2, 3, 5, 6
"""Numbers of fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData."""

_BYTE_ARRAY, _DICTIONARIES = 6, frozenset({2, 8})


class ColumnOfGroup(NamedTuple):
    """A column of a row group."""

    path: str
    """Its path in the schema, joined by dots."""
    values: int
    uncompressed: int
    """Bytes."""
    is_dictionary: bool
    """Whether it has texts or bytes of which each is stored once."""


def columns_of(file: BinaryIO) -> Iterator[ColumnOfGroup]:
    """Yield the columns of every row group of a Parquet file. Raises ValueError if its footer is corrupt."""
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        raise ValueError(f"{size} bytes, too few for a Parquet file")
    file.seek(size - 8)
    length, magic = struct.unpack("<I4s", file.read(8))
    if magic != _MAGIC or length > size - 12:
        raise ValueError("the file does not end with a Parquet footer")
    if length > _LONGEST:
        raise ValueError(f"a footer of {length:,} bytes; at most {_LONGEST:,} are read")
    file.seek(size - 8 - length)
    try:
        groups = _Reader(file.read(length)).structure().get(_ROW_GROUPS, [])
        for group in groups:
            for chunk in group[_COLUMNS]:
                column = chunk[_META_DATA]
                path = b".".join(column[_PATH]).decode()
                packed = column[_TYPE] == _BYTE_ARRAY and bool(_DICTIONARIES & {*column[_ENCODINGS]})
                yield ColumnOfGroup(path, int(column[_VALUES]), int(column[_UNCOMPRESSED]), packed)
    except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"a corrupt footer ({type(error).__name__}: {error})") from error


class _Reader:
    """Reads Thrift's compact protocol: structures as dictionaries by field number. Raises IndexError, ValueError or struct.error if it is corrupt."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._depth = data, 0, 0

    def structure(self) -> dict[int, Any]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("structures within each other without end")
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) & 15:
            number = number + (head >> 4) if head >> 4 else self._integer()
            found[number] = (head & 15 == 1) if head & 15 in (1, 2) else self._value(head & 15)
        self._depth -= 1
        return found

    def _value(self, kind: int) -> Any:  # noqa: PLR0911  one for each type
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            return [self._value(head & 15) for _ in range(self._varint() if head >> 4 == 15 else head >> 4)]
        if kind == 11:
            count = self._varint()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        if kind == 12:
            return self.structure()
        raise ValueError(f"unknown type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, length: int) -> bytes:
        found = self._data[self._at : self._at + length]
        if len(found) < length:
            raise IndexError("the footer ends within a value")
        self._at += length
        return found

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

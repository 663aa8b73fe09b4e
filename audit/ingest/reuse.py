"""Images whose bytes were measured before, under whatever name: a rename, a fresh checkout or another machine costs a read and no decode.

The bytes of an image decide all that is measured of it, so that a row found under the same content id, made by the same plan, is the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import AuditError
from audit.io.artifacts import write_array
from audit.run.identity import KEY_DIGITS, content_keys

LASTING = pa.array(["ok", "empty", "unreadable", "truncated", "too_large"])
"""Outcomes that the bytes alone decide; what was missing or killed a decoder may fare better the next time."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some images as they were measured."""

    measures: pa.Table
    """``audit.tables.MEASURES``."""
    embeddings: npt.NDArray[np.float16]
    """``[m, d]``."""
    thumbnails: npt.NDArray[np.uint8]
    """``[m, side, side, 3]``."""


@dataclass(frozen=True, slots=True)
class Store:
    """A place that holds measured images: an earlier run, or a shard of a cache."""

    place: str
    content_ids: pa.ChunkedArray
    """Hex, one for each row; null where there is none to be taken."""
    read: Callable[[npt.NDArray[np.int64]], Rows]
    """Takes rows; raises AuditError where the place is damaged or out of reach."""


class KnownContents:
    """Content ids as a reading process asks for them: sorted numbers in a file that all processes map. Where the file is not, nothing is known."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getstate__(self) -> dict[str, Path]:
        return {"_path": self._path}

    @cached_property
    def _numbers(self) -> npt.NDArray[np.uint64]:
        try:
            return np.load(self._path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except OSError:  # another machine of a cluster
            return np.empty(0, np.uint64)

    def __contains__(self, content_id: str) -> bool:
        number = np.uint64(int(content_id[:KEY_DIGITS], 16))
        at = int(np.searchsorted(self._numbers, number))
        return at < len(self._numbers) and bool(self._numbers[at] == number)


class Known:
    """All stores as one index.

    Args:
        stores: where rows may be taken from; the first that has an image gives it.
        path: where the numbers are written for reading processes.
    """

    def __init__(self, stores: Sequence[Store], path: Path) -> None:
        self._stores = stores
        ids = [pc.fill_null(store.content_ids, "") for store in stores]
        there = [np.flatnonzero(pc.not_equal(column, "").to_numpy()) for column in ids]
        numbers = np.concatenate(
            [content_keys(column.take(pa.array(rows))) for column, rows in zip(ids, there, strict=True)] or [np.empty(0, np.uint64)]
        )
        order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[order]
        self._store_of = np.repeat(np.arange(len(stores)), [len(rows) for rows in there])[order]
        self._row_of = np.concatenate([*there, np.empty(0, np.int64)])[order]
        write_array(path, np.unique(self._sorted))
        self.contents = KnownContents(path.absolute())

    def __len__(self) -> int:
        return len(self._sorted)

    def take(self, content_ids: pa.Array, note: Callable[[str], None]) -> Iterator[tuple[npt.NDArray[np.int64], Rows]]:
        """Take images, store by store.

        Args:
            content_ids: of the images wanted; each was found in `contents`.
            note: told of a store that cannot be read.

        Yields:
            Positions in ``content_ids`` and their rows. What a damaged store was to give is left out.
        """
        at = np.searchsorted(self._sorted, content_keys(content_ids))
        wanted = pa.array(content_ids)
        for number in np.unique(self._store_of[at]):
            mine = np.flatnonzero(self._store_of[at] == number)
            store = self._stores[number]
            try:
                rows = store.read(self._row_of[at[mine]])
            except (AuditError, OSError) as error:
                note(f"{store.place}: {_reason(error)}; its {len(mine)} images are read again")
                continue
            same = np.flatnonzero(pc.equal(rows.measures["content_id"], wanted.take(pa.array(mine))).to_numpy(zero_copy_only=False))
            yield mine[same], Rows(rows.measures.take(pa.array(same)), rows.embeddings[same], rows.thumbnails[same])


def lasting(measures: pa.Table) -> pa.ChunkedArray:
    """Return content ids where the bytes alone decided the row, else null; ``measures`` needs the columns content_id and outcome."""
    return pc.if_else(pc.is_in(measures["outcome"], LASTING), measures["content_id"], None)


def _reason(error: Exception) -> str:
    return error.problem if isinstance(error, AuditError) else " ".join(str(error).split())[:160]

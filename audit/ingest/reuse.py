"""Reuse measurements by content: after a rename, a fresh checkout or on another machine, images are read but not decoded.

Measurements depend only on an image's bytes and the plan, so a row with the same content id and plan can be reused.
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

from audit.errors import AuditError, reason
from audit.io.artifacts import write_array
from audit.run.identity import KEY_DIGITS, content_keys

_DETERMINISTIC = pa.array(["ok", "empty", "unreadable", "truncated", "too_large"])
"""Outcomes that depend only on the bytes; a missing image, or one that crashed a decoder, may succeed the next time."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """Measured rows of some images."""

    measures: pa.Table
    """``audit.tables.MEASURES``."""
    embeddings: npt.NDArray[np.float16]
    """``[m, d]``."""
    thumbnails: npt.NDArray[np.uint8]
    """``[m, side, side, 3]``."""
    features: npt.NDArray[np.uint8]
    """``[m, FEATURES, FEATURE_BYTES]``."""


@dataclass(frozen=True, slots=True)
class Store:
    """Measured images of an earlier run or of a cache shard."""

    name: str
    """For messages."""
    content_ids: pa.ChunkedArray
    """Hex, one per row; null for rows that cannot be reused."""
    read: Callable[[npt.NDArray[np.int64]], Measurements]
    """Reads rows; raises AuditError if the store is corrupt or unreachable."""


class ReusableIds:
    """A set of content ids for worker processes: sorted numbers in a file that all processes map. Without the file, the set is empty."""

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


class ReuseIndex:
    """All stores as one index by content id.

    Args:
        stores: the first store that has an image provides it.
        path: file for the ids that worker processes map.
    """

    def __init__(self, stores: Sequence[Store], path: Path) -> None:
        self._stores = stores
        ids = [pc.fill_null(store.content_ids, "") for store in stores]
        present = [np.flatnonzero(pc.not_equal(column, "").to_numpy()) for column in ids]
        numbers = np.concatenate(
            [content_keys(column.take(pa.array(rows))) for column, rows in zip(ids, present, strict=True)] or [np.empty(0, np.uint64)]
        )
        order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[order]
        self._store_of = np.repeat(np.arange(len(stores)), [len(rows) for rows in present])[order]
        self._row_of = np.concatenate([*present, np.empty(0, np.int64)])[order]
        write_array(path, np.unique(self._sorted))
        self.ids = ReusableIds(path.absolute())

    def __len__(self) -> int:
        return len(self._sorted)

    def take(self, content_ids: pa.Array, note: Callable[[str], None]) -> Iterator[tuple[npt.NDArray[np.int64], Measurements]]:
        """Read measurements, store by store.

        Args:
            content_ids: of the wanted images; each is in `ids`.
            note: called for a store that cannot be read.

        Yields:
            Positions in ``content_ids`` and their measurements, without those of corrupt stores.
        """
        at = np.searchsorted(self._sorted, content_keys(content_ids))
        wanted = pa.array(content_ids)
        for number in np.unique(self._store_of[at]):
            mine = np.flatnonzero(self._store_of[at] == number)
            store = self._stores[number]
            try:
                rows = store.read(self._row_of[at[mine]])
            except (AuditError, OSError) as error:
                problem = error.problem if isinstance(error, AuditError) else reason(error)
                note(f"{store.name}: {problem}; its {len(mine)} images are read again")
                continue
            same = np.flatnonzero(pc.equal(rows.measures["content_id"], wanted.take(pa.array(mine))).to_numpy(zero_copy_only=False))
            yield mine[same], Measurements(rows.measures.take(pa.array(same)), rows.embeddings[same], rows.thumbnails[same], rows.features[same])


def reusable_ids(measures: pa.Table) -> pa.ChunkedArray:
    """Return the content ids of rows that depend only on the bytes, else null; ``measures`` needs the columns content_id and outcome."""
    return pc.if_else(pc.is_in(measures["outcome"], _DETERMINISTIC), measures["content_id"], None)

"""Identity of images by content, independent of name and row: rows of two scans are matched by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd

KEY_DIGITS = 16
"""Hexadecimal digits of a content id in its key: 64 bits take an eighth of the memory and distinguish all images of a dataset."""


def identities(samples: pd.DataFrame) -> npt.NDArray[np.bytes_]:
    """Return the content that each embedding was computed from, ``[n]``: the first 32 digits of the content id; empty without an embedding."""
    ok = (samples["outcome"] == "ok").to_numpy()
    found = np.zeros(len(samples), "S32")
    # 32 hexadecimal digits are 128 bits: an accidental collision is ruled out.
    found[ok] = samples.loc[ok, "content_id"].str.slice(0, 32).to_numpy().astype("S32")
    return found


def content_keys(content: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return the first 64 bits of each content id, which is hexadecimal: uint64 ``[n]``; 0 for null."""
    digits = pc.utf8_rpad(pc.utf8_slice_codeunits(pc.fill_null(content, ""), 0, KEY_DIGITS), KEY_DIGITS, "0")
    joined = digits.combine_chunks() if isinstance(digits, pa.ChunkedArray) else digits
    if not len(joined):
        return np.empty(0, np.uint64)
    codes = np.frombuffer(joined.buffers()[2], np.uint8)[: KEY_DIGITS * len(joined)].reshape(-1, KEY_DIGITS)
    halves = (codes & 15) + 9 * (codes >> 6)  # ASCII: digits are 0x30..0x39, letters 0x41 and 0x61 on
    return np.ascontiguousarray(halves[:, ::2] << 4 | halves[:, 1::2]).view(">u8")[:, 0].astype(np.uint64)


def ordinal_index(identity: npt.NDArray[np.bytes_]) -> pd.MultiIndex:
    """Return identities made unique by an ordinal: the byte-identical copies of an image are numbered from 0."""
    import pandas as pd

    series = pd.Series(identity)
    return pd.MultiIndex.from_arrays([series, series.groupby(series).cumcount()])


def old_rows(before: npt.NDArray[np.bytes_], now: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """Return the position of each identity in an earlier scan's, int64 ``[n]``; -1 if its content is new or there is no embedding."""
    found = ordinal_index(before).get_indexer(ordinal_index(now)).astype(np.int64)
    found[now == b""] = -1
    return found

"""Properties of images other than what they show, cut into bins that checks compare."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from audit.masking import is_personal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_BINS = 24
_COMMONEST = 31
"""Values of a property such as the camera that are kept apart; all further ones are one value."""
_MEASURES = ("brightness", "contrast", "sharpness", "entropy", "chroma", "luma_p01", "luma_p99")
_ROWS_AT_ONCE = 8192
_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255
"""ITU-R BT.601, 0..1."""
_CATEGORIES = ("format", "mode", "camera", "encoder", "orientation", "has_alpha")


class Property(NamedTuple):
    """One property of every image, cut into bins."""

    name: str
    bins: npt.NDArray[np.int64]
    """``[n]`` bin of each image."""
    told: list[str]
    """What each bin holds, in words."""


def bins_of_numbers(name: str, values: npt.NDArray[np.float64]) -> Property:
    """Cut numbers at their quantiles; a value that most have is a bin of its own, and so is what is not finite, the last."""
    finite = values[np.isfinite(values)]
    edges = np.unique(_edges(finite)) if len(finite) else np.empty(0)
    bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1)
    ends = [f"{edge:.3g}" for edge in edges]
    first = [f"below {ends[0]}"] if ends else ["any"]
    told = [*first, *(f"{low} to {high}" for low, high in pairwise(ends)), *([f"{ends[-1]} or more"] if ends else []), "unknown"]
    return Property(name, bins, told)


def _edges(finite: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where to cut: the quantiles, and behind a value on which several of them fall the next larger one."""
    quantiles = np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1], method="lower")
    repeated = np.unique(quantiles[1:][np.diff(quantiles) == 0])
    distinct = np.unique(finite) if len(repeated) else finite
    behind = np.searchsorted(distinct, repeated, side="right")
    return np.concatenate([quantiles, distinct[behind[behind < len(distinct)]]])


def bins_of_values(name: str, values: pd.Series[str]) -> Property:
    """Give each of the commonest values a bin; the last bin but one holds all others, the last what is unknown."""
    known = values.dropna().astype(str)
    counts = known.value_counts()
    commonest = sorted(counts.index, key=lambda value: (-counts[value], value))[:_COMMONEST]
    codes = pd.Index(commonest).get_indexer(values.astype(object).where(values.notna(), None).map(str, na_action="ignore"))
    bins = np.where(codes >= 0, codes, np.where(values.isna(), len(commonest) + 1, len(commonest)))
    return Property(name, bins.astype(np.int64), [*(repr(value) for value in commonest), "another value", "unknown"])


def properties(table: pd.DataFrame) -> Iterator[Property]:
    """Yield the properties of images: what was measured of them, what their files say, and every metadata column.

    Args:
        table: columns of ``audit.tables.SAMPLES``, of images that could be read.
    """
    for name in _MEASURES:
        yield bins_of_numbers(name, table[name].to_numpy(float))
    width, height, size = (table[name].to_numpy(float) for name in ("width", "height", "byte_size"))
    yield bins_of_numbers("pixels", width * height)
    yield bins_of_numbers("aspect ratio", width / height)
    yield bins_of_numbers("bytes per pixel", size / (width * height))
    for name in _CATEGORIES:
        yield bins_of_values(name, table[name])
    yield bins_of_values("metadata families", table["exif_families"].map(lambda families: ", ".join(sorted(families)), na_action="ignore"))
    if table["metadata"].notna().any():
        columns = pd.DataFrame([json.loads(text) if isinstance(text, str) else {} for text in table["metadata"]], index=table.index)
        for name in sorted(columns.columns):
            values = pd.to_numeric(columns[name], errors="coerce")
            numbers = values.notna().sum() == columns[name].notna().sum() and values.nunique() > _COMMONEST
            found = bins_of_numbers(f"column {name}", values.to_numpy(float)) if numbers else bins_of_values(f"column {name}", columns[name])
            yield _masked(found) if is_personal(name) else found


def border_properties(thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Iterator[Property]:
    """Yield what the outermost pixels of images are like: a plain background or a frame shows in them.

    Args:
        thumbnails: ``[n, s, s, 3]``.
        rows: ``[m]`` of which images.
    """
    luma, spread = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = thumbnails[rows[start : start + _ROWS_AT_ONCE]]
        edges = np.concatenate([block[:, 0], block[:, -1], block[:, 1:-1, 0], block[:, 1:-1, -1]], axis=1) @ _LUMA
        luma[start : start + len(block)], spread[start : start + len(block)] = edges.mean(1), edges.std(1)
    yield bins_of_numbers("border brightness", luma)
    yield bins_of_numbers("border contrast", spread)


def _masked(found: Property) -> Property:
    """Number the bins of a personal column, so that what gives a class away is said without naming anybody."""
    return found._replace(told=[*(f"masked value {place}" for place in range(1, len(found.told))), found.told[-1]])

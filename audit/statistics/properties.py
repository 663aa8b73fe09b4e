"""Properties of images other than their content, cut into bins that checks compare."""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from audit.run.personal_columns import is_personal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

_BINS = 24
_COMMONEST = 31
"""Values of a property, such as the camera, that get a bin each; all others share one."""
_MEASURES = ("brightness", "contrast", "sharpness", "entropy", "chroma", "luma_p01", "luma_p99")
_ROWS_AT_ONCE = 8192
_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255
"""ITU-R BT.601, 0..1."""
_CODE = re.compile(r"\s*[-+]?0\d")
_CATEGORIES = ("format", "mode", "camera", "encoder", "orientation", "has_alpha")
_COLUMN = "column "
_WORDS = {
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "entropy": "entropy",
    "chroma": "chroma",
    "luma_p01": "darkest luma (1st percentile)",
    "luma_p99": "brightest luma (99th percentile)",
    "pixels": "number of pixels",
    "aspect ratio": "aspect ratio",
    "bytes per pixel": "bytes per pixel",
    "format": "file format",
    "mode": "color mode",
    "camera": "camera",
    "encoder": "JPEG encoding",
    "orientation": "EXIF orientation",
    "has_alpha": "alpha channel",
    "metadata families": "set of metadata families",
    "border brightness": "border brightness",
    "border contrast": "border contrast",
}
"""Names of properties in messages. The keys are stable: kinds of findings are derived from them."""


class Property(NamedTuple):
    """One property of every image, cut into bins."""

    name: str
    bins: npt.NDArray[np.int64]
    """``[n]`` bin of each image."""
    bin_names: list[str]
    """Text of each bin."""
    ordered: int = 0
    """Number of leading bins that are ranges of numbers, in ascending order; all others are values."""
    ends: Sequence[str] = ()
    """``[ordered - 1]`` text of the limits between ranges; empty if masked."""
    numbers: npt.NDArray[np.float64] | None = None
    """``[n]`` the numbers in the ranges, NaN for other images; None if there are no ranges or they are masked."""

    written: npt.NDArray[np.int64] | None = None
    """``[n]`` code of each image's value in a metadata column or file; -1 = unknown; None for measurements."""
    texts: npt.NDArray[np.object_] | None = None
    """Text of each code in ``written``; None if masked."""

    @property
    def column(self) -> str | None:
        """The metadata column's own name; None for other properties."""
        return self.name.removeprefix(_COLUMN) if self.name.startswith(_COLUMN) else None

    @property
    def words(self) -> str:
        """Name in messages; follows "the" and "whose"."""
        return _WORDS[self.name] if self.column is None else f"column {self.column!r}"

    def value_name(self, row: int) -> str:
        """Return the text of an image's value; the name of its bin if the value is masked or unknown."""
        if self.written is None or self.texts is None or self.written[row] < 0:
            return self.bin_names[int(self.bins[row])]
        value: str = self.texts[self.written[row]]
        return repr(value)

    def range_name(self, first: int, last: int) -> str:
        """Return the text of the range from the first to the last of some ordered bins."""
        if first == last:
            return self.bin_names[first]
        if not self.ends:
            return f"{self.bin_names[first]} to {self.bin_names[last]}"
        if first == 0:
            return f"below {self.ends[last]}" if last < len(self.ends) else "any number"
        return f"{self.ends[first - 1]} to {self.ends[last]}" if last < len(self.ends) else f"{self.ends[first - 1]} or more"


def bins_of_numbers(name: str, values: npt.NDArray[np.float64]) -> Property:
    """Cut numbers at their quantiles. A value that most images have gets its own bin; the last bin is for what is not finite."""
    finite = values[np.isfinite(values)]
    edges = np.unique(_edges(finite)) if len(finite) else np.empty(0)
    bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1)
    ends = _distinct_texts(edges)
    first = [f"below {ends[0]}"] if ends else ["any"]
    names = [*first, *(f"{low} to {high}" for low, high in pairwise(ends)), *([f"{ends[-1]} or more"] if ends else []), "unknown"]
    return Property(name, bins, names, len(ends) + 1, ends, values)


def _edges(finite: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the limits of the bins: the quantiles, and the next larger value after one where several quantiles coincide."""
    quantiles = np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1], method="lower")
    repeated = np.unique(quantiles[1:][np.diff(quantiles) == 0])
    distinct = np.unique(finite) if len(repeated) else finite
    behind = np.searchsorted(distinct, repeated, side="right")
    return np.concatenate([quantiles, distinct[behind[behind < len(distinct)]]])


def _distinct_texts(edges: npt.NDArray[np.float64]) -> list[str]:
    """Format numbers with three digits, or with as many as it takes to make all texts different."""
    for digits in range(3, 18):
        written = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(written)) == len(written):
            break
    return written


def bins_of_values(name: str, values: pd.Series[Any]) -> Property:
    """Give each of the commonest values a bin; the last two bins are for all other values and for unknown ones."""
    return with_commonest(_with_values(Property(name, np.zeros(len(values), np.int64), []), values), np.ones(len(values), bool))


def with_commonest(found: Property, among: npt.NDArray[np.bool_]) -> Property:
    """Rebin a property by its commonest values among some images; one with ranges of numbers is returned unchanged.

    Args:
        found: the property.
        among: ``[n]`` the images that count.
    """
    if found.written is None or found.ordered:
        return found
    counts = np.bincount(found.written[among & (found.written >= 0)], minlength=int(found.written.max(initial=-1)) + 1)
    commonest = np.argsort(-counts, kind="stable")[:_COMMONEST]
    commonest = commonest[counts[commonest] > 0]
    bin_of = np.full(len(counts) + 1, len(commonest), np.int64)
    bin_of[commonest], bin_of[-1] = np.arange(len(commonest)), len(commonest) + 1  # code -1 (unknown) indexes the last
    masked = found.texts is None
    names = [*(["masked"] * len(commonest) if found.texts is None else map(repr, found.texts[commonest])), "another value", "unknown"]
    binned = found._replace(bins=bin_of[found.written], bin_names=names)
    return _masked(binned) if masked else binned


def _with_values(found: Property, values: pd.Series[Any]) -> Property:
    """Give every value a code, in the order of their texts."""
    written, known = pd.factorize(values.astype(object).where(values.notna(), None).map(str, na_action="ignore"), sort=True)
    return found._replace(written=written.astype(np.int64), texts=np.asarray(known, object))


def bins_of_column(name: str, values: pd.Series[Any]) -> Property:
    """Bin a metadata column, and give every value a code."""
    return _with_values(_bins_of_column(name, values), values)


def _bins_of_column(name: str, values: pd.Series[Any]) -> Property:
    """Bin a metadata column as numbers if it contains mostly numbers and many different ones, else as values.

    Texts among numbers (``n/a``) get bins after those of the numbers. Numbers with a leading zero are codes, whose order has no meaning.
    """
    read = pd.to_numeric(values, errors="coerce").to_numpy(float)
    is_number = np.isfinite(read)
    coded = any(isinstance(value, str) and _CODE.match(value) for value in values)
    if coded or len(np.unique(read[is_number])) <= _COMMONEST or is_number.sum() <= values.notna().sum() / 2:
        return bins_of_values(name, values)
    numbers, texts = bins_of_numbers(name, np.where(is_number, read, np.nan)), bins_of_values(name, values.mask(is_number))
    if not values[~is_number].notna().any():
        return numbers
    ranges = numbers.bin_names[:-1]
    return numbers._replace(bins=np.where(is_number, numbers.bins, len(ranges) + texts.bins), bin_names=[*ranges, *texts.bin_names])


def is_running_number(values: pd.Series[Any], splits: pd.Series[str]) -> bool:
    """Return whether a column numbers the images: more than 31 integers, unique within a split, that fill at least half of their range.

    Such a number gives the class away if the listing is sorted, but is not a property of the image.

    Args:
        values: ``[n]`` values of a metadata column.
        splits: ``[n]`` splits, null for none.
    """
    read = pd.to_numeric(values, errors="coerce").astype(float)
    if not np.isfinite(read).all() or (read % 1 != 0).any() or read.nunique() <= _COMMONEST:
        return False
    of_split = read.groupby(splits.fillna("").to_numpy(object)).agg(["nunique", "size", "min", "max"])
    return bool(((of_split["nunique"] == of_split["size"]) & (of_split["max"] - of_split["min"] < 2 * of_split["size"])).all())


def distinct_kinds(kinds: list[str], names: list[str]) -> list[str]:
    """Return kinds of findings derived from names, with a part of the name's digest appended where several names have the same kind.

    Args:
        kinds: ``[n]`` kinds, part of a finding's id; names that differ only in punctuation have the same.
        names: ``[n]`` distinct names.
    """
    counts = Counter(kinds)
    return [f"{kind}_{sha256(name.encode()).hexdigest()[:6]}" if counts[kind] > 1 else kind for kind, name in zip(kinds, names, strict=True)]


def properties(table: pd.DataFrame) -> Iterator[Property]:
    """Yield the properties of images: measurements, properties of files, and every metadata column except running numbers.

    Args:
        table: columns of ``audit.tables.SAMPLES``, of readable images.
    """
    for name in _MEASURES:
        yield bins_of_numbers(name, table[name].to_numpy(float))
    width, height, size = (table[name].to_numpy(float) for name in ("width", "height", "byte_size"))
    yield bins_of_numbers("pixels", width * height)
    yield bins_of_numbers("aspect ratio", width / height)
    yield bins_of_numbers("bytes per pixel", size / (width * height))
    families = table["exif_families"].map(lambda found: ", ".join(sorted(found)), na_action="ignore")
    for name, values in (*((name, table[name]) for name in _CATEGORIES), ("metadata families", families)):
        yield bins_of_values(name, values)
    if table["metadata"].notna().any():
        cells = [json.loads(text) if isinstance(text, str) else {} for text in table["metadata"]]
        columns = pd.DataFrame(cells, index=table.index, dtype=object)  # else integers in a column with empty cells become floats
        for name in sorted(columns.columns):
            if is_running_number(columns[name], table["split"]):
                continue
            found = bins_of_column(_COLUMN + name, columns[name])
            yield _masked(found) if is_personal(name) else found


def border_properties(thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Iterator[Property]:
    """Yield properties of the outermost pixels, which show a plain background or a frame.

    Args:
        thumbnails: ``[n, s, s, 3]``.
        rows: ``[m]`` rows of the images.
    """
    luma, spread = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = thumbnails[rows[start : start + _ROWS_AT_ONCE]]
        edges = np.concatenate([block[:, 0], block[:, -1], block[:, 1:-1, 0], block[:, 1:-1, -1]], axis=1) @ _LUMA
        luma[start : start + len(block)], spread[start : start + len(block)] = edges.mean(1), edges.std(1)
    yield bins_of_numbers("border brightness", luma)
    yield bins_of_numbers("border contrast", spread)


def _masked(found: Property) -> Property:
    """Number the bins of a personal column, so that findings contain no personal values."""
    names = [*(f"masked value {number}" for number in range(1, len(found.bin_names))), found.bin_names[-1]]
    return found._replace(bin_names=names, ends=(), numbers=None, texts=None)

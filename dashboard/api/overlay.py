"""Where two copies of an image differ, aligned as the pair was verified."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.pairs.alignment import backwards
from audit.pairs.difference import difference_map
from audit.pairs.duplicate_sets import IDENTICAL

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

WIDTH = 360
"""Width, in pixels, of a drawn difference; it fits on a phone."""
_AMPLIFIED = 3
_STRIPE = 8
"""Width, in pixels, of the stripes that mark areas without a counterpart."""
_STRIPES = ((24, 62, 108), (40, 92, 152))
"""The two blues of the stripes; compared areas are gray."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the first of two images is in the second."""

    transform: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    """The 2 x 3 matrix, row by row, from the first image's coordinates (0..1 along both sides) to the second's."""
    mirrored: bool = False
    """Whether the second image is mirrored first."""

    @property
    def is_whole(self) -> bool:
        """Whether the whole images match edge to edge."""
        return self == Place()


def place_of(pairs: pd.DataFrame, row: int, other: int) -> Place:
    """Return where one row's image is in another's; edge to edge if the pair has no transformation, as copies with the same pixels.

    Args:
        pairs: columns of ``audit.tables.PAIRS``.
        row: row of the first image.
        other: row of the second image.
    """
    first, second = _leader(pairs, row), _leader(pairs, other)
    found = pairs.loc[(pairs["i"] == min(first, second)) & (pairs["j"] == max(first, second)), "evidence"]
    evidence = json.loads(found.iloc[0]) if len(found) else {}
    matrix, mirrored = _transform(evidence), isinstance(evidence, dict) and bool(evidence.get("mirrored"))
    if matrix is None:
        return Place()
    if first > second:
        matrix = backwards(matrix[None], np.array([mirrored]))[0]
    return Place(tuple(matrix.ravel().tolist()), mirrored)


def overlay(first: bytes, second: bytes, place: Place) -> tuple[bytes, float]:
    """Draw where two images differ.

    Args:
        first: an image file's bytes.
        second: an image file's bytes; it is overlaid on the first.
        place: where the first is in the second.

    Returns:
        A PNG with the first's aspect ratio, at most `WIDTH` wide: black where they are equal, brighter the more they differ, striped blue where the
        second does not cover the first; and the covered share, 0..1.
    """
    from PIL import Image

    one = Image.open(io.BytesIO(first)).convert("RGB")
    if one.width > WIDTH:
        one = one.resize((WIDTH, max(round(one.height * WIDTH / one.width), 1)), Image.Resampling.BOX)
    other = np.asarray(Image.open(io.BytesIO(second)).convert("RGB"))
    difference = difference_map(np.asarray(one), other, transform=place.transform, mirrored=place.mirrored)
    covered = ~np.isnan(difference)
    gray = np.minimum(np.nan_to_num(difference) * 255 * _AMPLIFIED, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.where(covered[..., None], gray[..., None], _stripes(*covered.shape))).save(stream, "PNG")
    return stream.getvalue(), float(covered.mean())


def _leader(pairs: pd.DataFrame, row: int) -> int:
    """Return the first row with the same pixels: only that one has pairs with other images."""
    found = pairs.loc[(pairs["j"] == row) & pairs["relation"].isin(IDENTICAL), "i"]
    return int(found.iloc[0]) if len(found) else row


def _transform(evidence: object) -> npt.NDArray[np.float64] | None:
    """Return the 2 x 3 matrix of a pair's evidence; None if it is missing, malformed or not invertible."""
    numbers = evidence.get("transform") if isinstance(evidence, dict) else None
    if not isinstance(numbers, list) or len(numbers) != 6 or not all(isinstance(number, int | float) for number in numbers):
        return None
    matrix = np.array(numbers, np.float64).reshape(2, 3)
    return matrix if np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:, :2])) > 1e-6 else None


def _stripes(height: int, width: int) -> npt.NDArray[np.uint8]:
    down, right = np.ogrid[:height, :width]
    return np.asarray(np.array(_STRIPES, np.uint8)[(down + right) // _STRIPE % 2], dtype=np.uint8)

"""Images of more than 8 bits per channel or more than 4 channels: read their values, and scale them to 8 bits the same way over a dataset."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.generic]
"""``[h, w]`` or ``[h, w, channels]``, RGB order; integers or floats."""

Ranges = Mapping[str, tuple[float, float]]
"""For each mode, such as ``I;16``, the values that become black and white."""

_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths of cameras and scanners; a 16-bit file with 12-bit content is scaled by the depth of its content."""

_LEAST_SHARE = 1 / 8
"""A smaller share of the depth means that the values are far from zero or faint: then the scale starts at their minimum."""

_LEAST_LEVELS = 16
"""Fewer values than this are no gray scale but classes of a mask."""

_TAILS = (0.1, 99.9)
"""Percentiles of the values that a range holds: single hot or padded pixels must not set the scale."""

_POINTS = 4096
"""Values of one image that stand for all of them."""

_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 16: 8}
"""Bytes of the values of TIFF fields: byte, text, short, long, long of BigTIFF."""


def eight_bits(values: Values, window: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """Scale deep values to 8 bits.

    Args:
        values: ``[h, w]`` or ``[h, w, channels]`` integers or floats. Non-finite values count as 0.
        window: the values that become 0 and 255; those of `window_of` for these values if None. Values outside are clipped.

    Returns:
        uint8 of the same shape.
    """
    numbers = values.astype(np.float64)
    if values.dtype.kind == "f":
        numbers = np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = window_of([numbers], is_float=values.dtype.kind == "f", tails=(0, 100)) if window is None else window
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((np.clip(numbers, low, high) - low) * (255.0 / (high - low))).astype(np.uint8)


def window_of(samples: Sequence[npt.NDArray[np.float64]], *, is_float: bool, tails: tuple[float, float] = _TAILS) -> tuple[float, float]:
    """Return the values that become black and white for images that hold these values.

    Integers use the depth of their content: the smallest of 8, 10, 12, 14 and 16 bits that holds their maximum. If they fill less than an eighth of
    it, as CT values far from zero do, and for floats outside [0, 1], the range is that of the values, rounded outward so that one more image
    rarely changes it. The lowest value may be padding and does not count then.

    Args:
        samples: finite values of one or more images.
        is_float: whether they are floats.
        tails: percentiles that are the lowest and the highest value.
    """
    whole = np.concatenate([sample.ravel() for sample in samples]) if samples else np.zeros(0)
    if not whole.size:
        return 0.0, 1.0
    low, high = (float(part) for part in np.percentile(whole, tails))
    if is_float and whole.min() >= 0 and whole.max() <= 1:
        return 0.0, 1.0
    if not is_float and low >= 0:
        depth = next((2.0**bits - 1 for bits in _DEPTHS if high < 2**bits), high)
        padded = whole[whole > whole.min()]
        inner = np.percentile(padded, tails) if padded.size else (low, high)
        if inner[0] < depth / 4 or not _LEAST_LEVELS <= inner[1] - inner[0] < depth * _LEAST_SHARE:
            return 0.0, depth
        low, high = (float(part) for part in inner)  # without the value of padding, from which the others are far
    if high <= low or tails == (0, 100):
        return low, high
    step = 2.0 ** math.floor(math.log2((high - low) / 16))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def points(values: Values) -> npt.NDArray[np.float64]:
    """Return evenly spaced values of an image, finite ones only."""
    flat = values.reshape(-1)
    numbers = flat[:: max(len(flat) // _POINTS, 1)].astype(np.float64)
    return numbers[np.isfinite(numbers)]


def tiff_fields(data: bytes) -> dict[int, int]:
    """Return the first value of the numeric fields of a TIFF's first image, by tag; nothing if the bytes are not a sound TIFF.

    Source of the format: TIFF 6.0, section 2; BigTIFF as in libtiff.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16 or struct.unpack(f"{order}H", data[2:4])[0] not in (42, 43):
        return {}
    big = struct.unpack(f"{order}H", data[2:4])[0] == 43
    count_form, entry_size, offset_form = ("Q", 20, "Q") if big else ("H", 12, "I")
    try:
        (start,) = struct.unpack_from(f"{order}{offset_form}", data, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{count_form}", data, start)
        fields = {}
        for at in range(start + struct.calcsize(count_form), start + struct.calcsize(count_form) + min(count, 512) * entry_size, entry_size):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            (number,) = struct.unpack_from(f"{order}{offset_form}", data, at + 4)
            size = _TYPES.get(kind, 0)
            inline = size * number <= (8 if big else 4)
            where = at + (12 if big else 8)
            if not inline:
                (where,) = struct.unpack_from(f"{order}{offset_form}", data, where)
            if size and number:
                fields[tag] = struct.unpack_from(f"{order}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[size] }", data, where)[0]
    except (struct.error, OverflowError):
        return {}
    return fields


BANDS, SUBFILE, SUB_IMAGES, DNG_VERSION, WIDTH, HEIGHT = 277, 254, 330, 50706, 256, 257
"""Tags of TIFF fields."""
_PHOTOMETRIC, _EXTRA_SAMPLES = 262, 338
_COLORS = {0: 1, 1: 1, 2: 3}
"""Channels of gray and RGB, by photometric interpretation; all others are transparency or bands (TIFF 6.0, ExtraSamples)."""


def is_multiband(fields: Mapping[int, int]) -> bool:
    """Return whether a TIFF has channels besides color and transparency, given its `tiff_fields`."""
    bands, colors = fields.get(BANDS, 1), _COLORS.get(fields.get(_PHOTOMETRIC, -1))
    if colors is None or bands <= colors:
        return bands > 5
    if colors == 3 and bands == 4:
        return False  # many writers of RGBA do not say what the fourth channel is
    return bands > colors + 1 or fields.get(_EXTRA_SAMPLES, 0) not in (1, 2)


def read_multiband(data: bytes) -> Values:
    """Return all bands of a TIFF, ``[h, w, bands]``. Raises any exception if it is corrupt, ImportError if its compression needs a package."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        try:
            values = np.asarray(page.asarray())
        except ValueError as error:
            raise ImportError(f"{error}; pip install imagecodecs") from error
        return np.moveaxis(values, 0, -1) if values.ndim == 3 and page.planarconfig == 2 else values


def read_deep_color(data: bytes) -> Values | None:
    """Return the values of a PNG or TIFF of 16 bits per channel, RGB or RGBA order; None if they cannot be read so."""
    import cv2

    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.ndim != 3 or values.dtype == np.uint8:
        return None
    order = [2, 1, 0, 3][: values.shape[2]]
    return np.ascontiguousarray(values[:, :, order]) if values.shape[2] in (3, 4) else None

"""Find JPEGs whose lower part is missing although they decode without an error: libjpeg fills it with gray.

Such files end with a valid end mark, so the decoder is content: an upload that was cut and closed, a block of zeros in the middle of a copy.
"""

from __future__ import annotations

import io
import math
import re

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.images.jpeg_stream import JpegStream

_GRAY = 128
"""What libjpeg writes for blocks without data: all coefficients 0 (ITU-T T.81, A.3.1)."""

_ZEROS = b"\0" * 64
"""With usual Huffman tables, so many zero bytes in a row are no coded image."""

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


def missing_part(data: bytes, stream: JpegStream, image: Image.Image) -> str | None:
    """Return what is missing of a JPEG that was decoded without an error; None if nothing is.

    Args:
        data: the file's bytes.
        stream: its markers.
        image: the decode, RGB or gray, possibly scaled, before any rotation.
    """
    if not stream.scans or not stream.sampling:
        return None
    if stream.progressive:
        return _missing_scans(stream)
    return _missing_restarts(data, stream) or _zeros(data, stream) or _gray_end(data, stream, image)


def _codes(stream: JpegStream) -> dict[int, str]:
    """Return the bits of symbol 0 by Huffman table, its number plus 16 for AC: no difference of a DC value, end of a block (annex C)."""
    found: dict[int, str] = {}
    for body in stream.tables:
        at = 0
        while at + 17 <= len(body):
            table, counts, code = body[at], body[at + 1 : at + 17], 0
            at += 17
            for bits, count in enumerate(counts, 1):
                if (place := body.find(0, at, at + count)) >= 0:
                    found[table] = f"{code + place - at:0{bits}b}"
                code = (code + count) << 1
                at += count
    return found


def _missing_scans(stream: JpegStream) -> str | None:
    """Return what a progressive JPEG lacks: every coefficient of its first component must be coded to the last bit."""
    first = next(iter(stream.sampling))
    lowest = [16] * 64
    for _, _, parts, (low, high, bits) in stream.scans:
        if any(component == first for component, _, _ in parts):
            lowest[low : high + 1] = [min(bits, before) for before in lowest[low : high + 1]]
    missing = sum(bits > 0 for bits in lowest)
    return f"the last scans of a progressive JPEG are missing: {missing} of 64 coefficients are coarse or absent" if missing else None


def _missing_restarts(data: bytes, stream: JpegStream) -> str | None:
    if not stream.interval or len(stream.scans) != 1:
        return None
    columns, rows = stream.units
    wanted = math.ceil(columns * rows / stream.interval) - 1
    start, end, _, _ = stream.scans[0]
    found = len(_RESTART.findall(data, start, end))
    return f"{wanted - found} of {wanted} restart marks are missing, and the parts of the image between them" if found < wanted else None


def _zeros(data: bytes, stream: JpegStream) -> str | None:
    for start, end, parts, _ in stream.scans:
        if (at := data.find(_ZEROS, start, end)) >= 0:
            codes = _codes(stream)
            dc, ac = (codes.get(table, "") for table in (parts[0][1], 16 + parts[0][2]))
            if "1" in dc + ac:  # else the shortest codes are zeros, and a flat area is coded so
                return f"its coded data contain a run of zero bytes after {(at - start) / max(end - start, 1):.0%}"
    return None


def _gray_end(data: bytes, stream: JpegStream, image: Image.Image) -> str | None:
    """Return the missing share if the image ends with gray that is not coded in the file.

    A picture may end with gray itself. Then its bits are at the end of the data, and nothing else changes if those bits are removed.
    """
    width, height = image.size
    if any(low != _GRAY or high != _GRAY for low, high in _extremes(image.crop((max(width - 4, 0), height - 1, width, height)))):
        return None
    pixels = np.asarray(image.convert("RGB"))
    columns, rows = stream.units
    gray = _gray_units(pixels, columns, rows)
    units = len(gray) if gray.all() else int(np.argmin(gray[::-1]))
    if not units or len(stream.scans) != 1:
        return None
    start, end, parts, _ = stream.scans[0]
    bits, codes = 0, _codes(stream)
    for component, dc, ac in parts:
        across, down = stream.sampling.get(component, (1, 1)) if len(parts) > 1 else (1, 1)
        bits += across * down * (len(codes.get(dc, "1")) + len(codes.get(16 + ac, "1")))
    coded = units * bits // 8
    share = f"the last {units / len(gray):.0%} of the image is not in the file: decoders show gray"
    if gray.all() or coded >= end - start:
        return share if end - start < coded else None
    # Half of the bits: the first unit of the gray may need more than the shortest codes, and its remains would reach into others.
    kept = data[start : end - max(coded // 2, 1)].rstrip(b"\xff")
    scale = max(round(stream.height / height), 1)
    with Image.open(io.BytesIO(data[:start] + kept + b"\xff\xd9")) as shorter:
        if scale > 1:
            shorter.draft(None, (math.ceil(stream.width / scale), math.ceil(stream.height / scale)))
        less = np.asarray(shorter.convert("RGB"))
    if less.shape != pixels.shape:
        return None
    changed = _blocks((less != pixels).any(axis=2), columns, rows)
    return share if changed[: len(gray) - units].any() else None


def _gray_units(pixels: npt.NDArray[np.uint8], columns: int, rows: int) -> npt.NDArray[np.bool_]:
    """Return which coding units are entirely gray, in the order in which they are coded."""
    return ~_blocks((pixels != _GRAY).any(axis=2), columns, rows)


def _blocks(marked: npt.NDArray[np.bool_], columns: int, rows: int) -> npt.NDArray[np.bool_]:
    """Return which coding units have a marked pixel; the edges of a unit do not count, since colors of neighbors are blended there."""
    height, width = marked.shape
    tall, wide = math.ceil(height / rows), math.ceil(width / columns)
    padded = np.zeros((rows * tall, columns * wide), bool)
    padded[: min(height, rows * tall), : min(width, columns * wide)] = marked[: rows * tall, : columns * wide]
    units = padded.reshape(rows, tall, columns, wide)
    inner = units[:, 1 : tall - 1, :, 1 : wide - 1] if min(tall, wide) > 3 else units
    return np.asarray(inner.any(axis=(1, 3)).ravel())


def _extremes(image: Image.Image) -> list[tuple[float, float]]:
    """Return the lowest and highest value of each channel."""
    found = image.getextrema()
    return [found] if isinstance(found[0], (int, float)) else list(found)

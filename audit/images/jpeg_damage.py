"""Find JPEGs that decode without an error although their coded data are damaged: decoders show garbled, shifted or discolored bands.

Two kinds of traces: libjpeg has to skip or invent data, which Pillow does not report; or all data are valid, but the mean of all blocks from one
place on is wrong, because each block codes only the difference to the one before (ITU-T T.81, F.1.2.1).
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from audit.images.jpeg_stream import JpegStream

MISSING = "a scan of a progressive JPEG ends early: part of its details are missing"
"""The reason of a file that is cut within a scan, all of which shows coarsely."""

_EXTRA = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_PADDING = b"\0\xff \t\r\n"

_EVEN, _CLEAR = 2.0, 3.0
"""Ratio of the step's height to its spread along the step, or to the jumps beside it, from which it is damage and not an edge in the image. Of
47,312 undamaged images, one exceeds 0.7 of either bound."""
_LEAST_HEIGHT, _ELSEWHERE = 4.0, 0.4
"""Levels of 0..255 that the step has at least on either side of its corner; the largest share of it where there must be none."""
_FLAT, _RISING, _FALLING, _SAME_SIGN = 0.5, 0.5, 0.08, 0.85
"""Levels below which a block does not jump, as where colors are clipped; shares of blocks that go with a step, against it, and with an even one."""
_LEAST_ROWS, _LEAST_COLUMNS, _MARGIN, _MANY = 4, 6, 2, 4
"""Coding units of the image, and beside the corner of the step: fewer show no step. With less than many, only an even step counts."""


def damage(data: bytes, stream: JpegStream, image: Image.Image) -> str | None:
    """Return what shows that a decoded JPEG is garbled; None if nothing does.

    Args:
        data: the file's bytes.
        stream: its markers.
        image: the decode, RGB or gray, possibly scaled, before any rotation.
    """
    if not stream.scans or not stream.sampling:
        return None
    in_one_go = len(stream.scans) == 1 and (not stream.interval or stream.interval >= 2 * stream.units[0])  # the step is in two rows
    return _skipped(data, stream) or (_shifted(stream, image) if in_one_go and not stream.progressive else None)


def _skipped(data: bytes, stream: JpegStream) -> str | None:
    """Return libjpeg's complaint about the coded data; padding before the end mark is none."""
    try:
        simplejpeg.decode_jpeg(data, colorspace="GRAY", fastdct=True, fastupsample=True, min_height=1, min_width=1)
    except ValueError as error:
        complaint = str(error)
    else:
        return None
    if not complaint.startswith("Corrupt JPEG data"):
        return None
    extra = _EXTRA.match(complaint)
    end = stream.scans[-1][1]
    if extra and not data[end - int(extra[1]) : end].strip(_PADDING):
        return None
    if stream.progressive and "premature end" in complaint:
        return MISSING
    return f"its coded data are damaged, and decoders show a garbled image: {complaint.removeprefix('Corrupt JPEG data: ')}"


def _shifted(stream: JpegStream, image: Image.Image) -> str | None:
    """Return where all later blocks become lighter, darker or of another color at once.

    Blocks are coded row by row, so the step follows the upper edge of a row of coding units to the right of one unit, and the lower edge to its left.
    """
    columns, rows = stream.units
    scale = max(round(stream.height / image.height), 1)
    across, down = (max(part[side] for part in stream.sampling.values()) if len(stream.sampling) > 1 else 1 for side in (0, 1))
    tall, wide = 8 * down // scale, 8 * across // scale
    columns, rows = min(columns, image.width // max(wide, 1)), min(rows, (image.height - 2) // max(tall, 1) + 1)
    if min(tall, wide) < 1 or columns < _LEAST_COLUMNS or rows < _LEAST_ROWS:
        return None
    pixels = np.asarray(image)
    found = _step(_jumps(pixels, tall, wide, rows, columns))
    if found is None:
        return None
    row, column, height = found
    where = (row * columns + column) / (rows * columns)
    return f"its coded data are damaged: from {where:.0%} of the image on, all blocks differ by {abs(height):.0f} levels at once"


def _jumps(pixels: npt.NDArray[np.uint8], tall: int, wide: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Return by how much pixels jump at the upper edge of each coding unit, beyond their slope: ``[channels, rows - 1, columns]``, YCbCr or gray."""
    edges = np.arange(1, rows) * tall
    edges = edges[(edges >= 2) & (edges + 1 < pixels.shape[0])]
    lines = [pixels[edges + offset, : columns * wide].astype(np.float32) for offset in (-2, -1, 0, 1)]
    jump = (lines[2] - lines[1]) - ((lines[1] - lines[0]) + (lines[3] - lines[2])) / 2
    jump = jump.reshape(len(edges), columns, wide, -1).mean(2)
    if jump.shape[2] == 3:
        jump = jump @ np.array([[0.299, -0.169, 0.5], [0.587, -0.331, -0.419], [0.114, 0.5, -0.081]], np.float32)  # JFIF 1.02
    return np.moveaxis(jump, 2, 0)


def _step(jumps: npt.NDArray[np.float32]) -> tuple[int, int, float] | None:
    """Return row, column and height of the clearest step of any channel, given ``[channels, rows - 1, columns]``; None if there is none."""
    channels, edges, columns = jumps.shape
    left = np.arange(_MARGIN, columns - _MARGIN + 1)
    if not len(left) or edges < 2:
        return None
    below = np.concatenate([jumps[:, 1:], np.zeros((channels, 1, columns), np.float32)], axis=1)
    both = np.stack([jumps, below])
    before = np.cumsum(np.stack([both, both**2, both > _FLAT, both < -_FLAT]), axis=-1, dtype=np.float64)
    # Sums, squares, rises and falls; of the upper and the lower edge; by channel, edge and place.
    to_left, to_right = before[..., left - 1], before[..., -1:] - before[..., left - 1]
    (upper_left, lower_left), (upper_right, lower_right) = to_left[0], to_right[0]
    on = np.minimum(np.abs(lower_left / left), np.abs(upper_right / (columns - left)))
    off = np.maximum(np.abs(upper_left / left), np.abs(lower_right / (columns - left)))
    mean, square, rises, falls = (to_left[:, 1] + to_right[:, 0]) / columns
    beside = np.sqrt((to_left[1, 0] + to_right[1, 1]) / columns)
    one_way = (np.sign(lower_left) == np.sign(upper_right)) & (np.maximum(rises, falls) >= _RISING) & (np.minimum(rises, falls) <= _FALLING)
    even = on / np.sqrt(np.maximum(square - mean**2, 0.25)) / _EVEN * (np.maximum(rises, falls) >= _SAME_SIGN)
    clear = on / np.maximum(beside, 1.0) / _CLEAR * (np.minimum(left, columns - left) >= _MANY)
    score = np.where(one_way & (off < _ELSEWHERE * on) & (on >= _LEAST_HEIGHT), np.maximum(even, clear), 0)
    channel, row, at = np.unravel_index(int(score.argmax()), score.shape)
    return (int(row) + 1, int(left[at]), float(mean[channel, row, at])) if score[channel, row, at] >= 1 else None

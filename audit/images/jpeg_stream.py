"""Parse the markers of a JPEG file (ITU-T T.81, annex B)."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field

_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(slots=True)
class JpegStream:
    """What the markers of a JPEG say."""

    progressive: bool = False
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Horizontal and vertical sampling by component."""
    tables: list[bytes] = field(default_factory=list)
    """Contents of the segments with Huffman tables."""
    interval: int = 0
    """Blocks between restart marks; 0 for none."""
    scans: list[tuple[int, int, list[tuple[int, int, int]], tuple[int, int, int]]] = field(default_factory=list)
    """Start and end of the coded data, components with their tables, and spectral selection with the low bit."""
    end: int | None = None
    """Offset of the first byte after the image; None if it has no end mark, or is coded without Huffman tables."""

    @property
    def units(self) -> tuple[int, int]:
        """Columns and rows of coding units (MCUs) of a scan of all components."""
        across, down = (max(part[side] for part in self.sampling.values()) for side in (0, 1))
        if len(self.sampling) == 1:
            across = down = 1
        return math.ceil(self.width / (8 * across)), math.ceil(self.height / (8 * down))


def parse_jpeg(data: bytes) -> JpegStream | None:
    """Parse the markers of a JPEG up to its end mark; None if they are corrupt."""
    stream = JpegStream()
    try:
        _read_markers(data, stream)
    except (IndexError, struct.error, ValueError):
        return None
    return stream


def _read_markers(data: bytes, stream: JpegStream) -> None:
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            stream.end = at + 2
            return
        (size,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + size]
        at += 2 + size
        if marker in (0xC0, 0xC1, 0xC2):
            stream.progressive = marker == 0xC2
            stream.height, stream.width = struct.unpack_from(">HH", body, 1)
            stream.sampling = {body[6 + 3 * k]: (body[7 + 3 * k] >> 4, body[7 + 3 * k] & 15) for k in range(body[5])}
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return  # lossless or arithmetic coding
        elif marker == 0xC4:
            stream.tables.append(body)
        elif marker == 0xDD:
            (stream.interval,) = struct.unpack(">H", body)
        elif marker == 0xDA:
            number = body[0]
            parts = [(body[1 + 2 * k], body[2 + 2 * k] >> 4, body[2 + 2 * k] & 15) for k in range(number)]
            low, high, bits = body[1 + 2 * number : 4 + 2 * number]
            found = _END_OF_SCAN.search(data, at)
            end = found.start() if found else len(data)
            stream.scans.append((at, end, parts, (low, high, bits & 15)))
            at = end

"""JPEG (ITU-T T.81): keep the segments that decoding needs, Adobe's color transform and the ICC profile."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from audit.exports.metadata_removal.refused import Refused

_EOI, _SOS, _APP0, _APP2, _APP14, _APP15, _COM = 0xD9, 0xDA, 0xE0, 0xE2, 0xEE, 0xEF, 0xFE
_DNL, _FIRST_KNOWN = 0xDC, 0xC0
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODING = _FRAMES | {0xC4, 0xCC, _SOS, 0xDB, 0xDD, _EOI}
"""Frames, tables for Huffman and arithmetic coding, scans, quantization tables, restart intervals."""
_JFIF, _ICC, _ADOBE = b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""Inside coded pixels, FF is followed by a stuffed zero or belongs to a restart marker."""


def without_metadata_segments(data: bytes, exif: bytes) -> bytes:
    """Return the file without the segments that no decoder needs; coded pixels are copied byte for byte.

    Args:
        data: a JPEG's bytes.
        exif: TIFF structure of the EXIF segment to write; empty for none.

    Raises:
        Refused: the segments are corrupt or have an unknown marker.
        struct.error: a segment is truncated.
    """
    kept = [data[:2]]
    block = b"Exif\0\0" + exif
    own = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block if exif else b""
    frame, sequential, complete = b"", False, False
    for marker, content, raw in _segments(data):
        if complete and marker != _EOI and marker >= _FIRST_KNOWN:
            continue  # one scan has all components; no reader needs another, but after a damaged marker some continue this one
        wanted = _wanted(marker, content, raw)
        if own and wanted and marker != _APP0:  # JFIF requires its segment first
            kept.append(own)
            own = b""
        kept.append(wanted)
        if marker in _FRAMES:
            frame, sequential = content, marker in _SEQUENTIAL
        complete = marker == _SOS and sequential and content[:1] == frame[5:6]
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and all bytes of each segment up to the end of the image; the bytes of a scan include its coded pixels."""
    at = 2
    while at < len(data):
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if data[at] != 0xFF:
            raise Refused(f"has no marker at byte {at}")
        marker = data[at + 1]
        if marker == _EOI:
            yield marker, b"", b"\xff\xd9"
            return  # any bytes after it are another image, or hidden data
        content_end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if content_end < at + 4 or content_end > len(data):
            raise Refused("is truncated inside a segment")
        end = content_end
        if marker == _SOS:
            following = _MARKER_AFTER_SCAN.search(data, content_end)
            end = following.start() if following else len(data)
        yield marker, data[at + 4 : content_end], data[at:end]
        at = end


def _wanted(marker: int, content: bytes, raw: bytes) -> bytes:
    """Return the bytes to keep of a segment; empty to drop it."""
    if marker == _APP0 and content.startswith(_JFIF) and len(content) >= 14:
        # Keep version and density, drop the thumbnail.
        return b"\xff\xe0\0\x10" + content[:12] + b"\0\0"
    if marker == _APP14 and content.startswith(_ADOBE) and len(content) >= 12:
        return b"\xff\xee\0\x0e" + content[:12]
    if marker in _DECODING or (marker == _APP2 and content.startswith(_ICC)):
        return raw
    if _APP0 <= marker <= _APP15 or marker in {_COM, _DNL}:  # libjpeg ignores a number of lines that follows the pixels
        return b""
    raise Refused(f"has a segment with the unknown marker {marker:02X}")

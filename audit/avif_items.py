"""Where an AVIF file keeps its EXIF and XMP, and the same file with them blanked: pixels, offsets and orientation stay as they are.

Source: HEIF (ISO/IEC 23008-12) in ISO's base media file format (ISO/IEC 14496-12): the items of the ``meta`` box, what they are (``iinf``) and where
their bytes lie (``iloc``). A HEIF file keeps its orientation in ``irot`` and ``imir``, not in EXIF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_EXIF = b"Exif"
_PICTURES = frozenset((b"av01", b"grid", b"iovl", b"iden", b"tmap"))
"""Items that are pixels or say how to put pixels together; all others tell of the picture."""
_EMPTY_EXIF = b"\0\0\0\0" + b"II*\0" + struct.pack("<IHI", 8, 0, 0)
"""The offset of a TIFF structure, and one without any tag."""
_KEPT = frozenset((b"ftyp", b"meta", b"mdat", b"moov"))
"""Boxes of the file that a picture or an animation needs; what is hidden in others is blanked."""

Extent = tuple[int, int]
"""Start and end in the file."""


def without_metadata_items(data: bytes) -> bytes:
    """Return the file with all blanked that is not the picture: EXIF, XMP, other items, boxes that no picture needs; as long as before.

    Bytes between the items are blanked too, but not in an animation, whose frames are no items.

    Raises:
        ValueError: the boxes are damaged, or an item lies where it cannot be found.
        struct.error: they end too soon.
        KeyError: there is no ``meta`` box.
    """
    clean = bytearray(data)
    whole = list(_boxes(data, (0, len(data))))
    animated = any(name == b"moov" for name, _ in whole)
    for name, (start, end) in whole:
        if name not in _KEPT or (name == b"mdat" and not animated):
            clean[start:end] = bytes(end - start)
    meta = dict(whole)[b"meta"]
    inside = dict(_boxes(data, (meta[0] + 4, meta[1])))
    kinds = dict(_kinds(data, inside[b"iinf"])) if b"iinf" in inside else {}
    places = [(kinds.get(number), place) for number, place in _places(data, inside.get(b"iloc", (0, 0)), inside.get(b"idat", (0, 0)))]
    for kind, (start, end) in sorted(places, key=lambda entry: entry[0] in _PICTURES):
        if not 0 <= start <= end <= len(data):
            raise ValueError("an item lies outside the file")
        clean[start:end] = data[start:end] if kind in _PICTURES else _blank(kind, end - start)
    return bytes(clean)


def _blank(kind: bytes | None, size: int) -> bytes:
    return (_EMPTY_EXIF if kind == _EXIF and size >= len(_EMPTY_EXIF) else b"").ljust(size, b"\0" if kind == _EXIF else b" ")


def _boxes(data: bytes, within: Extent) -> Iterator[tuple[bytes, Extent]]:
    """Yield the name of each box and where its content lies."""
    at, end = within
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        size = size or end - at
        if size < head or at + size > end:
            raise ValueError("a box does not fit into its file")
        yield name, (at + head, at + size)
        at += size


def _kinds(data: bytes, within: Extent) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the type of each item."""
    at = within[0]
    for _, (start, _) in _boxes(data, (at + (6 if data[at] == 0 else 8), within[1])):
        wide = data[start] >= 3
        number, _, kind = struct.unpack_from(">IH4s" if wide else ">HH4s", data, start + 4)
        yield number, kind


def _places(data: bytes, within: Extent, idat: Extent) -> Iterator[tuple[int, Extent]]:
    """Yield the number of each item and where each of its parts lies."""
    if within[0] == within[1]:
        return
    reading = _Numbers(data, within[0])
    version = reading.next(1)
    reading.next(3)
    sizes = reading.next(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if not (offset and length):
        raise ValueError("items without place or length")
    for _ in range(reading.next(2 if version < 2 else 4)):
        number = reading.next(2 if version < 2 else 4)
        method = reading.next(2) & 15 if version else 0
        reading.next(2)
        origin = reading.next(base) + (idat[0] if method == 1 else 0)
        for _ in range(reading.next(2)):
            reading.next(index if version else 0)
            start = origin + reading.next(offset)
            if method > 1:
                raise ValueError("an item is made of other items")
            yield number, (start, start + reading.next(length))


class _Numbers:
    """Reads big-endian numbers of any width, one after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def next(self, width: int) -> int:
        if self.at + width > len(self.data):
            raise ValueError("a box ends too soon")
        self.at += width
        return int.from_bytes(self.data[self.at - width : self.at], "big")

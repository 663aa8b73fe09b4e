"""An AVIF file with everything blanked that is not the picture: pixels, offsets and orientation stay as they are.

Source: HEIF (ISO/IEC 23008-12) in ISO's base media file format (ISO/IEC 14496-12): the items of the ``meta`` box, what they are (``iinf``), how they
belong together (``iref``, ``grpl``) and where their bytes lie (``iloc``); the samples of an animation's tracks (``stbl``). A HEIF file keeps its
orientation in ``irot`` and ``imir``, not in EXIF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from audit.avif_boxes import Box, boxes, children_at, inside, is_picture_track, without_words

_EXIF = b"Exif"
_PICTURES = frozenset((b"av01", b"grid", b"iovl", b"iden", b"tmap"))
"""Items that are pixels or say how to put pixels together; all others tell of the picture."""
_EMPTY_EXIF = b"\0\0\0\0" + b"II*\0" + struct.pack("<IHI", 8, 0, 0)
"""The offset of a TIFF structure, and one without any tag."""

Extent = tuple[int, int]
"""Start and end in the file."""


def without_metadata_items(data: bytes) -> bytes:
    """Return the file with all blanked that is not the picture; as long as before.

    That is EXIF, XMP and other items, thumbnails and further pictures, boxes that no picture needs, names and dates in those that it needs, tracks of
    sound and metadata, and what lies between the pixels.

    Raises:
        ValueError: the boxes are damaged, or an item lies where it cannot be found.
        struct.error: they end too soon.
        KeyError: a box that there must be is missing.
    """
    clean = without_words(data)
    whole = list(boxes(data, 0, len(data)))
    meta = inside(data, {box.name: box for box in whole}[b"meta"])
    nowhere = Box(b"", 0, 0, 0)
    kinds = dict(_kinds(data, meta[b"iinf"]))
    wanted = {number for number in _belonging(data, meta) if kinds.get(number) in _PICTURES}
    items = list(_places(data, meta.get(b"iloc", nowhere), meta.get(b"idat", nowhere)))
    pixels = [place for number, place in items if number in wanted]
    pixels += [place for box in whole if box.name == b"moov" for place in _samples(data, box)]
    for box in (*whole, *meta.values()):
        if box.name in {b"mdat", b"idat"}:
            clean[box.start : box.end] = bytes(box.end - box.start)
    if not all(0 <= start <= end <= len(data) for start, end in (*pixels, *(place for _, place in items))):
        raise ValueError("an item lies outside the file")
    for number, (start, end) in items:
        clean[start:end] = _blank(kinds.get(number), end - start)
    for start, end in pixels:
        clean[start:end] = data[start:end]
    return bytes(clean)


def _blank(kind: bytes | None, size: int) -> bytes:
    return (_EMPTY_EXIF if kind == _EXIF and size >= len(_EMPTY_EXIF) else b"").ljust(size, b" " if kind == b"mime" else b"\0")


def _kinds(data: bytes, items: Box) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the type of each item."""
    for box in boxes(data, items.start + children_at(data, items), items.end):
        wide = data[box.start] >= 3
        number, _, kind = struct.unpack_from(">IH4s" if wide else ">HH4s", data, box.start + 4)
        yield number, kind


def _belonging(data: bytes, meta: dict[bytes, Box]) -> set[int]:
    """Return the items that the first picture is made of: itself and its alternatives, their parts, their alpha; no thumbnails."""
    first = meta[b"pitm"]
    found = {int.from_bytes(data[first.start + 4 : first.start + (8 if data[first.start] else 6)], "big")}
    links = list(_links(data, meta[b"iref"])) if b"iref" in meta else []
    for group in boxes(data, meta[b"grpl"].start, meta[b"grpl"].end) if b"grpl" in meta else ():
        members = [number for (number,) in struct.iter_unpack(">I", data[group.start + 12 : group.start + (group.end - group.start) // 4 * 4])]
        if group.name == b"altr" and found & set(members):
            found |= set(members)
    more = found
    while more:
        parts = {target for name, source, target in links if name == b"dimg" and source in found}
        more = (parts | {source for name, source, target in links if name in {b"auxl", b"prem"} and target in found}) - found
        found = found | more
    return found


def _links(data: bytes, references: Box) -> Iterator[tuple[bytes, int, int]]:
    """Yield what a reference is called, and its two items."""
    width = 4 if data[references.start] else 2
    for box in boxes(data, references.start + 4, references.end):
        reading = _Numbers(data, box.start)
        source = reading.next(width)
        for _ in range(reading.next(2)):
            yield box.name, source, reading.next(width)


def _places(data: bytes, within: Box, idat: Box) -> Iterator[tuple[int, Extent]]:
    """Yield the number of each item and where each of its parts lies."""
    if within.start == within.end:
        return
    reading = _Numbers(data, within.start)
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
        origin = reading.next(base) + (idat.start if method == 1 else 0)
        for _ in range(reading.next(2)):
            reading.next(index if version else 0)
            start = origin + reading.next(offset)
            if method > 1:
                raise ValueError("an item is made of other items")
            yield number, (start, start + reading.next(length))


def _samples(data: bytes, film: Box) -> Iterator[Extent]:
    """Yield where the frames of an animation lie, those of one chunk together."""
    for track in boxes(data, film.start, film.end):
        if track.name != b"trak" or not is_picture_track(data, track):
            continue
        tables = inside(data, inside(data, inside(data, inside(data, track)[b"mdia"])[b"minf"])[b"stbl"])
        wide = b"co64" in tables
        chunks = _table(data, tables[b"co64" if wide else b"stco"], 4, ">Q" if wide else ">I")
        (each, count) = struct.unpack_from(">II", data, tables[b"stsz"].start + 4)
        sizes = [size for (size,) in _table(data, tables[b"stsz"], 8, ">I")] if each == 0 else []
        runs = _table(data, tables[b"stsc"], 4, ">III")
        at = 0
        for (first, many, _), (behind, *_) in pairwise([*runs, (len(chunks) + 1, 0, 0)]):
            for (start,) in chunks[max(first, 1) - 1 : behind - 1]:
                many = min(many, count - at)  # noqa: PLW2901
                yield start, start + (each * many if each else sum(sizes[at : at + many]))
                at += many


def _table(data: bytes, box: Box, count_at: int, row: str) -> list[tuple[int, ...]]:
    """Return the rows of a table behind the number of them."""
    (count,) = struct.unpack_from(">I", data, box.start + count_at)
    start, size = box.start + count_at + 4, struct.calcsize(row)
    if start + count * size > box.end:
        raise ValueError("a box ends too soon")
    return list(struct.iter_unpack(row, data[start : start + count * size]))


class _Numbers:
    """Reads big-endian numbers of any width, one after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def next(self, width: int) -> int:
        if self.at + width > len(self.data):
            raise ValueError("a box ends too soon")
        self.at += width
        return int.from_bytes(self.data[self.at - width : self.at], "big")

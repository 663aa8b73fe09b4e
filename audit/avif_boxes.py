"""The boxes of an AVIF file: which of them a picture or an animation needs, and the same file with the others and all words blanked.

Source: ISO's base media file format (ISO/IEC 14496-12), HEIF (ISO/IEC 23008-12), AVIF 1.1 (AOMedia).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_NEEDED = {
    b"": b"ftyp meta mdat moov",
    b"meta": b"hdlr pitm iloc iinf iprp iref idat dinf grpl",
    b"iprp": b"ipco ipma",
    b"ipco": b"ispe pixi av1C colr pasp clap irot imir auxC a1op lsel a1lx clli mdcv cclv amve ndwt",
    b"iinf": b"infe",
    b"moov": b"mvhd trak",
    b"trak": b"tkhd edts tref mdia",
    b"edts": b"elst",
    b"mdia": b"mdhd hdlr minf",
    b"minf": b"vmhd nmhd dinf stbl",
    b"dinf": b"dref",
    b"dref": b"url  urn ",
    b"stbl": b"stsd stts ctts cslg stsc stsz stco co64 stss sgpd sbgp",
    b"stsd": b"av01",
    b"av01": b"av1C colr pasp clap ccst auxi clli mdcv cclv amve",
}
"""What is kept inside a box; the file itself has no name."""
_CHILDREN_AT = {b"meta": 4, b"iinf": 6, b"dref": 8, b"stsd": 8, b"av01": 78}
"""Bytes of a box's own fields before the boxes in it."""
_WORDS = frozenset((b"udes", b"altt", b"crtt", b"mdft", b"free", b"skip", b"uuid"))
"""Properties of items that describe, which no reader needs; any other that is not known may change the picture."""
_ONE_OF_EACH = frozenset((b"", b"meta", b"mdia", b"minf", b"stbl"))
_PICTURE_TRACKS = frozenset((b"pict", b"auxv"))
_NAME = 24
"""Of a handler, its name's place."""
_COMPRESSOR = slice(42, 74)


class Box(NamedTuple):
    """A box and where it lies in the file."""

    name: bytes
    named_at: int
    start: int
    """Of the content."""
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two places.

    Raises:
        ValueError: one does not fit.
    """
    at = start
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        size = size or end - at
        if size < head or at + size > end:
            raise ValueError("a box does not fit into its file")
        yield Box(name, at + 4, at + head, at + size)
        at += size


def inside(data: bytes, box: Box) -> dict[bytes, Box]:
    """Return the boxes in a box by name, the last of each."""
    return {child.name: child for child in boxes(data, box.start + children_at(data, box), box.end)}


def children_at(data: bytes, box: Box) -> int:
    """Return how many bytes of its own fields lie before the boxes in a box."""
    wide = box.name == b"iinf" and data[box.start] > 0  # the number of items has four bytes from version 1 on
    return _CHILDREN_AT.get(box.name, 0) + 2 * wide


def without_words(data: bytes) -> bytearray:
    """Return the file with every box that no picture needs turned into free space, and names and dates blanked; as long as before.

    Raises:
        ValueError: the boxes are damaged, or an item has a property that is not known.
        struct.error: they end too soon.
    """
    clean = bytearray(data)
    _clean_inside(data, clean, Box(b"", 0, 0, len(data)))
    return clean


def is_picture_track(data: bytes, track: Box) -> bool:
    """Tell whether a track is a picture or its alpha, rather than sound, text or metadata."""
    handler = inside(data, inside(data, track)[b"mdia"]).get(b"hdlr")
    return handler is not None and data[handler.start + 8 : handler.start + 12] in _PICTURE_TRACKS


def _clean_inside(data: bytes, clean: bytearray, outer: Box) -> None:
    needed = {_NEEDED[outer.name][at : at + 4] for at in range(0, len(_NEEDED[outer.name]), 5)}
    seen, last = set(), outer.start + children_at(data, outer)
    for box in boxes(data, last, outer.end):
        last = box.end
        if outer.name in _ONE_OF_EACH and box.name in needed and box.name != b"mdat":
            if box.name in seen:
                raise ValueError(f"it holds more than one box {box.name.decode()}")
            seen.add(box.name)
        if box.name not in needed or (box.name == b"trak" and not is_picture_track(data, box)):
            if outer.name == b"ipco" and box.name not in _WORDS:
                raise ValueError(f"an item has the property {box.name.decode('latin-1')!r}, which is not known")
            clean[box.named_at : box.named_at + 4] = b"free"
            clean[box.start : box.end] = bytes(box.end - box.start)
            continue
        _blank_fields(data, clean, box)
        if box.name in _NEEDED:
            _clean_inside(data, clean, box)
    clean[last : outer.end] = bytes(outer.end - last)


def _blank_fields(data: bytes, clean: bytearray, box: Box) -> None:
    """Blank names and dates: of handlers, items, codecs and places elsewhere, of films, tracks and media."""
    blank = slice(0, 0)
    if box.name == b"hdlr":
        blank = slice(_NAME, None)
    elif box.name in {b"mvhd", b"tkhd", b"mdhd"}:
        blank = slice(4, 20 if data[box.start] else 12)
    elif box.name == b"infe":
        if data[box.start] < 2:
            raise ValueError("an item has no type")
        blank = slice(14 if data[box.start] > 2 else 12, None)
    elif box.name in {b"url ", b"urn "}:
        blank = slice(4, None)
    elif box.name == b"av01":
        blank = _COMPRESSOR
    start, end, _ = blank.indices(box.end - box.start)
    clean[box.start + start : box.start + max(start, end)] = bytes(max(end - start, 0))

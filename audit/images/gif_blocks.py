"""Parse the blocks of a GIF file (GIF89a specification, CompuServe 1990)."""

from __future__ import annotations

from collections.abc import Iterator

GRAPHIC_CONTROL, COMMENT, PLAIN_TEXT, APPLICATION, IMAGE = 0xF9, 0xFE, 0x01, 0xFF, 0x2C
"""Labels of extensions, and the separator of an image."""
_EXTENSION, _TRAILER = 0x21, 0x3B


def first_block(data: bytes) -> int:
    """Return the offset of the first block, after the screen descriptor and the global color table."""
    return 13 + _color_table(data[10])


def gif_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield label (of an extension, or ``IMAGE``), start and end of each block up to the trailer.

    Raises:
        ValueError: there is no block where one must start.
        IndexError: the file ends before the trailer.
    """
    at = first_block(data)
    while data[at] != _TRAILER:
        start = at
        if data[at] == IMAGE:
            label, at = IMAGE, at + 11 + _color_table(data[at + 9])
        elif data[at] == _EXTENSION:
            label, at = data[at + 1], at + 2
        else:
            raise ValueError(f"holds no block at byte {at}")
        while data[at]:
            at += data[at] + 1
        at += 1
        yield label, start, at


def parts_of(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """Yield the contents of an extension's sub-blocks."""
    at = start + 2
    while at < end and data[at]:
        yield data[at + 1 : at + 1 + data[at]]
        at += data[at] + 1


def _color_table(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

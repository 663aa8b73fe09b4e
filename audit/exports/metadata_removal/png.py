"""The chunks of a PNG file (W3C, third edition): the same file with those alone that its pixels, colors, size and animation need."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZES = {b"IHDR": 13, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"acTL": 8}
_LARGEST = {b"sBIT": 4, b"bKGD": 6, b"PLTE": 768}
_LARGEST_TRANSPARENT = {0: 2, 2: 6, 3: 256}
"""Bytes of ``tRNS`` by the color type: gray, color, palette."""
_DESCRIBING = frozenset((*_SIZES, *_LARGEST, b"tRNS", b"iCCP"))
_PALETTE = 3
_FRAME_SIZE = 26
_AT_ONCE = 1 << 20

Chunk = tuple[bytes, bytes, bytes]
"""Kind, content, and all bytes."""


def without_metadata_chunks(data: bytes, exif: bytes) -> bytes:
    """Return the file without chunks, runs of pixels and frames that no reader needs.

    Args:
        data: a PNG's bytes.
        exif: content of its own EXIF chunk; empty for none.

    Raises:
        ValueError: the chunks or the coded pixels are damaged, or one holds more than its kind needs.
        struct.error: they end too soon.
    """
    chunks = list(_chunks(data))
    head = list(takewhile(lambda one: one[0] != b"IDAT", chunks))
    pixels = list(takewhile(lambda one: one[0] == b"IDAT", chunks[len(head) :]))  # one run; no reader goes on to a second one
    color = data[25]
    described = [one for one in head if one[0] in _DESCRIBING]
    _require_plain(described, color)
    frames = sum(struct.unpack(">I", content[:4])[0] for kind, content, _ in described if kind == b"acTL")
    before = [one for one in head if one[0] == b"fcTL"] if frames else []
    kept = [_SIGNATURE]
    for kind, content, raw in described:
        if kind == b"iCCP":  # a profile's name is free text
            kept.append(_chunk(kind, b"icc" + content[content.index(0) :]))
        elif (kind != b"PLTE" or color == _PALETTE) and (kind != b"acTL" or frames):  # elsewhere a palette is a proposal
            kept.append(raw)
    # Some readers turn the picture by what lies before its pixels alone, so the orientation stays on its side of them.
    turned = [_chunk(b"eXIf", exif)] if exif else []
    late = any(kind == b"eXIf" for kind, *_ in chunks[len(head) :]) and not any(kind == b"eXIf" for kind, *_ in head)
    played = list(_frames(chunks[len(head) + len(pixels) :], frames - len(before)))
    _require_sequence([*before, *played])
    coded = [raw for *_, raw in (*before, *_whole(pixels, 0), *played)]
    return b"".join((*kept, *([] if late else turned), *coded, *(turned if late else []), _chunk(b"IEND", b"")))


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks before the end of the picture."""
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + size
        if end > len(data):
            raise ValueError("it is cut off inside a chunk")
        yield kind, data[at + 8 : end - 4], data[at:end]
        at = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _require_plain(described: list[Chunk], color: int) -> None:
    """Refuse what could hide something: a chunk that is larger than its kind, or one more of a kind."""
    kinds = [kind for kind, *_ in described]
    for kind, content, _ in described:
        largest = {**_LARGEST, b"tRNS": _LARGEST_TRANSPARENT.get(color, 0)}.get(kind, len(content))
        if len(content) > largest or len(content) != _SIZES.get(kind, len(content)):
            raise ValueError(f"its chunk {kind.decode()} holds {len(content):,} bytes, which its kind does not need")
        if kinds.count(kind) > 1:
            raise ValueError(f"it holds more than one chunk {kind.decode()}")


def _frames(behind: list[Chunk], wanted: int) -> Iterator[Chunk]:
    """Yield the chunks of an animation's frames behind the first picture, as many as it plays."""
    starts = [at for at, (kind, *_) in enumerate(behind) if kind == b"fcTL"]
    for start, end in zip(starts[: max(wanted, 0)], [*starts[1:], len(behind)], strict=False):
        yield behind[start]
        yield from _whole([one for one in behind[start:end] if one[0] == b"fdAT"], 4)


def _require_sequence(played: list[Chunk]) -> None:
    numbers = [struct.unpack(">I", content[:4])[0] for _, content, _ in played]
    if numbers != list(range(len(numbers))):
        raise ValueError("the chunks of its animation are not numbered one after another")
    if any(kind == b"fcTL" and len(content) != _FRAME_SIZE for kind, content, _ in played):
        raise ValueError("the description of a frame has another size than it needs")


def _whole(coded: list[Chunk], number: int) -> list[Chunk]:
    """Return the chunks of one picture's coded pixels, without what lies behind their end.

    Args:
        coded: chunks of one picture.
        number: bytes of a sequence number before the pixels of each.

    Raises:
        ValueError: they are damaged or end too soon.
    """
    reading = zlib.decompressobj()
    for place, (kind, content, _) in enumerate(coded):
        left = content[number:]
        try:
            while left and not reading.eof:
                reading.decompress(left, _AT_ONCE)
                left = reading.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"its coded pixels are damaged: {error}") from error
        if reading.eof:
            content = content[: len(content) - len(reading.unused_data)]  # noqa: PLW2901
            return [*coded[:place], (kind, content, _chunk(kind, content))]
    raise ValueError("its coded pixels are not whole")

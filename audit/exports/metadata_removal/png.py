"""PNG (W3C, third edition): keep the chunks for pixels, colors, size and animation."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZES = {b"IHDR": 13, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"acTL": 8}
_LARGEST = {b"sBIT": 4, b"bKGD": 6, b"PLTE": 768}
_LARGEST_TRANSPARENT = {0: 2, 2: 6, 3: 256}
"""Color type (gray, color, palette) -> largest size of ``tRNS``, in bytes."""
_DESCRIBING = frozenset((*_SIZES, *_LARGEST, b"tRNS", b"iCCP"))
_PALETTE = 3
_FRAME_SIZE = 26
_AT_ONCE = 1 << 20

Chunk = tuple[bytes, bytes, bytes]
"""Kind, content, and all bytes."""


def without_metadata_chunks(data: bytes, exif: bytes) -> bytes:
    """Return the file without the chunks, pixel runs and frames that no decoder needs.

    Args:
        data: a PNG's bytes.
        exif: TIFF structure of the EXIF chunk to write; empty for none.

    Raises:
        ValueError: the chunks or the coded pixels are corrupt, or a chunk is larger than its kind allows.
        struct.error: a chunk is truncated.
    """
    chunks = list(_chunks(data))
    head = list(takewhile(lambda one: one[0] != b"IDAT", chunks))
    pixels = list(takewhile(lambda one: one[0] == b"IDAT", chunks[len(head) :]))  # readers decode the first run only
    color = data[25]
    described = [one for one in head if one[0] in _DESCRIBING]
    _require_sizes(described, color)
    frames = sum(struct.unpack(">I", content[:4])[0] for kind, content, _ in described if kind == b"acTL")
    before = [one for one in head if one[0] == b"fcTL"] if frames else []
    kept = [_SIGNATURE]
    for kind, content, raw in described:
        if kind == b"iCCP":  # the profile's name is free text
            kept.append(_chunk(kind, b"icc" + content[content.index(0) :]))
        elif (kind != b"PLTE" or color == _PALETTE) and (kind != b"acTL" or frames):  # with other color types a palette is only a suggestion
            kept.append(raw)
    # Some readers apply the orientation only if it precedes the pixels, so it stays on its side of them.
    orientation = [_chunk(b"eXIf", exif)] if exif else []
    late = any(kind == b"eXIf" for kind, *_ in chunks[len(head) :]) and not any(kind == b"eXIf" for kind, *_ in head)
    played = list(_frames(chunks[len(head) + len(pixels) :], frames - len(before)))
    _require_sequence([*before, *played])
    coded = [raw for *_, raw in (*before, *_whole(pixels, 0), *played)]
    return b"".join((*kept, *([] if late else orientation), *coded, *(orientation if late else []), _chunk(b"IEND", b"")))


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to the end of the image."""
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + size
        if end > len(data):
            raise ValueError("it is truncated inside a chunk")
        yield kind, data[at + 8 : end - 4], data[at:end]
        at = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _require_sizes(described: list[Chunk], color: int) -> None:
    """Refuse chunks that could hide data: larger than their kind allows, or repeated."""
    kinds = [kind for kind, *_ in described]
    for kind, content, _ in described:
        largest = {**_LARGEST, b"tRNS": _LARGEST_TRANSPARENT.get(color, 0)}.get(kind, len(content))
        if len(content) > largest or len(content) != _SIZES.get(kind, len(content)):
            raise ValueError(f"its {kind.decode()} chunk has {len(content):,} bytes, more or fewer than its kind allows")
        if kinds.count(kind) > 1:
            raise ValueError(f"it has more than one {kind.decode()} chunk")


def _frames(following: list[Chunk], wanted: int) -> Iterator[Chunk]:
    """Yield the chunks of the ``wanted`` animation frames that follow the first image."""
    starts = [at for at, (kind, *_) in enumerate(following) if kind == b"fcTL"]
    for start, end in zip(starts[: max(wanted, 0)], [*starts[1:], len(following)], strict=False):
        yield following[start]
        yield from _whole([one for one in following[start:end] if one[0] == b"fdAT"], 4)


def _require_sequence(played: list[Chunk]) -> None:
    numbers = [struct.unpack(">I", content[:4])[0] for _, content, _ in played]
    if numbers != list(range(len(numbers))):
        raise ValueError("the chunks of its animation are not numbered consecutively")
    if any(kind == b"fcTL" and len(content) != _FRAME_SIZE for kind, content, _ in played):
        raise ValueError("a frame control chunk has an invalid size")


def _whole(coded: list[Chunk], number: int) -> list[Chunk]:
    """Return the chunks of one image's coded pixels, up to the end of the compressed stream.

    Args:
        coded: chunks of one image.
        number: size in bytes of the sequence number before the pixels of each chunk.

    Raises:
        ValueError: the pixels are corrupt or truncated.
    """
    reading = zlib.decompressobj()
    for at, (kind, content, _) in enumerate(coded):
        left = content[number:]
        try:
            while left and not reading.eof:
                reading.decompress(left, _AT_ONCE)
                left = reading.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"its coded pixels are corrupt: {error}") from error
        if reading.eof:
            content = content[: len(content) - len(reading.unused_data)]  # noqa: PLW2901
            return [*coded[:at], (kind, content, _chunk(kind, content))]
    raise ValueError("its coded pixels are truncated")

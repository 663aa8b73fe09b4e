"""The chunks of a WebP file (RFC 9649): the same file with those alone that its pixels, colors and animation need."""

from __future__ import annotations

import struct

_EXTENDED, _LOSSY, _LOSSLESS, _ALPHA, _ANIMATION, _FRAME, _PROFILE = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"
_SIZES = {_EXTENDED: 10, _ANIMATION: 6}
_FRAME_HEAD = 16
_EXIF_BIT, _XMP_BIT = 0x08, 0x04

Chunk = tuple[bytes, bytes]
"""Kind and content."""


def without_metadata_chunks(data: bytes, exif: bytes) -> bytes:
    """Return the file without chunks that no reader needs.

    Args:
        data: a WebP's bytes.
        exif: content of its own EXIF chunk; empty for none.

    Raises:
        ValueError: the chunks are damaged, or there is no picture among them.
        struct.error: they end too soon.
    """
    chunks = _chunks(data[12 : 8 + struct.unpack("<I", data[4:8])[0]])
    if chunks and chunks[0][0] != _EXTENDED:  # the simple format is one picture, and nothing that follows it is read
        chunks = chunks[:1]
    kinds = [kind for kind, _ in chunks]
    described = [(kind, content) for at, (kind, content) in enumerate(chunks) if kind in (*_SIZES, _PROFILE) and at == kinds.index(kind)]
    frames = [(kind, content[:_FRAME_HEAD] + _joined(_picture(_chunks(content[_FRAME_HEAD:])))) for kind, content in chunks if kind == _FRAME]
    kept = []
    for kind, content in described:
        plain = content[: _SIZES.get(kind, len(content))]
        if kind == _EXTENDED:
            plain = bytes([plain[0] & ~(_EXIF_BIT | _XMP_BIT) | (_EXIF_BIT if exif else 0)]) + plain[1:]
        kept.append((kind, plain))
    kept += frames or _picture(chunks)
    body = b"WEBP" + _joined([*kept, *([(b"EXIF", exif)] if exif else [])])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _picture(chunks: list[Chunk]) -> list[Chunk]:
    """Return the first coded picture, and its alpha where it has none in itself."""
    places = [at for at, (kind, _) in enumerate(chunks) if kind in {_LOSSY, _LOSSLESS}]
    if not places:
        raise ValueError("it holds no coded picture")
    alpha = [one for one in chunks[: places[0]] if one[0] == _ALPHA] if chunks[places[0]][0] == _LOSSY else []
    return [*alpha[:1], chunks[places[0]]]


def _chunks(data: bytes) -> list[Chunk]:
    found, at = [], 0
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        if at + 8 + size > len(data):
            raise ValueError("it is cut off inside a chunk")
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def _joined(chunks: list[Chunk]) -> bytes:
    return b"".join(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in chunks)

"""WebP (RFC 9649): keep the chunks for pixels, colors and animation."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.exports.metadata_removal.refused import Refused

_EXTENDED, _LOSSY, _LOSSLESS, _ALPHA, _ANIMATION, _FRAME, _PROFILE = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"
_SIZES = {_EXTENDED: 10, _ANIMATION: 6}
_FRAME_HEAD = 16
_EXIF_BIT, _XMP_BIT = 0x08, 0x04

Chunk = tuple[bytes, bytes]
"""Kind and content."""


def without_metadata_chunks(data: bytes, exif: bytes) -> bytes:
    """Return the file without the chunks that no decoder needs.

    Args:
        data: a WebP's bytes.
        exif: TIFF structure of the EXIF chunk to write; empty for none.

    Raises:
        Refused: some readers decode pixels that follow the end given in the header.
        ValueError: the chunks are corrupt, or none of them is an image.
        struct.error: a chunk is truncated.
    """
    end = 8 + struct.unpack("<I", data[4:8])[0]
    clean = _needed(_chunks(data[12:end]), exif)
    if len(data) > end and not np.array_equal(_pixels(clean), _pixels(data)):
        raise Refused("has pixels after the end given in its header")
    return clean


def _needed(chunks: list[Chunk], exif: bytes) -> bytes:
    if chunks and chunks[0][0] != _EXTENDED:  # in the simple format readers decode one image and ignore all that follows
        chunks = chunks[:1]
    kinds = [kind for kind, _ in chunks]
    described = [(kind, content) for at, (kind, content) in enumerate(chunks) if kind in (*_SIZES, _PROFILE) and at == kinds.index(kind)]
    frames = [(kind, content[:_FRAME_HEAD] + _joined(_image(_chunks(content[_FRAME_HEAD:])))) for kind, content in chunks if kind == _FRAME]
    kept = []
    for kind, content in described:
        plain = content[: _SIZES.get(kind, len(content))]
        if kind == _EXTENDED:
            plain = bytes([plain[0] & ~(_EXIF_BIT | _XMP_BIT) | (_EXIF_BIT if exif else 0)]) + plain[1:]
        kept.append((kind, plain))
    kept += frames or _image(chunks)
    body = b"WEBP" + _joined([*kept, *([(b"EXIF", exif)] if exif else [])])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _image(chunks: list[Chunk]) -> list[Chunk]:
    """Return the first coded image, and its alpha chunk if it is lossy."""
    found = [at for at, (kind, _) in enumerate(chunks) if kind in {_LOSSY, _LOSSLESS}]
    if not found:
        raise ValueError("it contains no coded image")
    alpha = [one for one in chunks[: found[0]] if one[0] == _ALPHA] if chunks[found[0]][0] == _LOSSY else []
    return [*alpha[:1], chunks[found[0]]]


def _chunks(data: bytes) -> list[Chunk]:
    found, at = [], 0
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        if at + 8 + size > len(data):
            raise ValueError("it is truncated inside a chunk")
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def _joined(chunks: list[Chunk]) -> bytes:
    return b"".join(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in chunks)


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))

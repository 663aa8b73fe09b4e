"""Find data after the end of an image: a file that is an image and something else at once, or remains of an earlier image."""

from __future__ import annotations

from collections.abc import Collection

from audit.images.gif_blocks import gif_blocks
from audit.images.jpeg_stream import JpegStream
from audit.images.signatures import image_format, not_an_image

_PADDING = b"\0 \t\r\n\x1a"

_ANNOUNCED = (b"MPF\0", b"GContainer", b"MicroVideo", b"MotionPhoto", b"hdrgm:")
"""In a JPEG's header: more images (CIPA DC-007) and Google's containers (depth, gain maps, videos)."""

_TRAILERS = (b"CANON OPTIONAL DATA\0", b"AXS!", b"cbipcbbl", b"\xa1\xb2\xc3\xd4", b"~\x10\x04", b"QDIOBS", b"SEFT", b"vivo{", b"jxrs", b"&&&&")
"""Starts or ends of blocks that cameras and photo programs append: Canon VRD, AFCP, Photo Mechanic, FotoStation, MIE, Samsung, Vivo, OnePlus.
Source: ExifTool, Image::ExifTool::Trailer."""

_NEAR = 64
"""Bytes at the start and the end of the appended data in which `_TRAILERS` are expected."""


def appended(data: bytes, form: str | None, stream: JpegStream | None, families: Collection[str] = ()) -> str | None:
    """Return the size and kind of data after an image's end; None if there are none besides padding and what cameras append.

    Args:
        data: the file's bytes.
        form: Pillow's name of the format.
        stream: the markers, if it is a JPEG.
        families: of its metadata (`audit.images.metadata`); a camera that writes maker notes may append previews.
    """
    end = (None if stream is None else stream.end) if form in ("JPEG", "MPO") else _end(data, form)
    rest = b"" if end is None else data[end:].strip(_PADDING)
    if end is None or not rest.strip(b"\xff") or (stream is not None and _from_camera(data, stream, rest, families)):
        return None
    return f"{len(data) - end:,} bytes: {_kind(rest)}"


def _kind(rest: bytes) -> str:
    other = not_an_image(rest)
    if other is not None:
        return other[0]
    form = image_format(rest)
    return f"another image ({form})" if form else "a video" if rest[4:8] == b"ftyp" else "unknown data"


def _from_camera(data: bytes, stream: JpegStream, rest: bytes, families: Collection[str]) -> bool:
    if image_format(rest) == "JPEG" and any(name.startswith("maker_note/") for name in families):
        return True
    header = data[: stream.scans[0][0]] if stream.scans else b""
    return any(name in header for name in _ANNOUNCED) or any(name in rest[:_NEAR] + rest[-_NEAR:] for name in _TRAILERS)


def _end(data: bytes, form: str | None) -> int | None:
    """Return where a PNG, GIF or WebP ends; None for other formats and for corrupt files."""
    if form == "PNG":
        at = 8
        while at + 12 <= len(data):
            name, at = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
            if name == b"IEND":
                return at
    if form == "WEBP":
        size = 8 + int.from_bytes(data[4:8], "little")
        return size + size % 2
    if form == "GIF":
        try:
            return max((end for _, _, end in gif_blocks(data)), default=0) + 1 or None
        except (IndexError, ValueError):
            return None
    return None

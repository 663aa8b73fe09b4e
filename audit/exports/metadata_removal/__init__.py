"""One image file's bytes -> the same picture without metadata; the pixels' bytes are copied, not coded again, where the format allows it.

What is kept is listed, all else goes: in JPEG (ITU-T T.81) the segments that decoding needs, Adobe's color transform and the ICC profile; in PNG
(`.png`) and WebP (`.webp`) the chunks for pixels, color, size and animation; in GIF89a the blocks of the frames and how often
they play. A block that is kept holds what its kind needs and no more. The orientation is kept, as an EXIF block that holds nothing else. In AVIF all
items but the pixels are blanked. BMP, PNM and TIFF are coded again without loss, and compared.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from audit.avif_items import without_metadata_items
from audit.exports.metadata_removal import png as png_chunks
from audit.exports.metadata_removal import webp as webp_chunks
from audit.images.decode import stored_mode
from audit.images.gif_blocks import APPLICATION, GRAPHIC_CONTROL, IMAGE, PLAIN_TEXT, first_block, gif_blocks, parts_of
from audit.images.metadata import metadata_families

_EOI, _SOS, _APP0, _APP2, _APP14, _APP15, _COM = 0xD9, 0xDA, 0xE0, 0xE2, 0xEE, 0xEF, 0xFE
_DNL, _FIRST_KNOWN = 0xDC, 0xC0
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODING = _FRAMES | {0xC4, 0xCC, _SOS, 0xDB, 0xDD, _EOI}
"""Frames, tables for Huffman and arithmetic coding, scans, quantization tables, restart intervals."""
_JFIF, _ICC, _ADOBE = b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"
_MARKER_BEHIND_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""Inside coded pixels, FF is followed by a stuffed zero or belongs to a restart marker."""
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_CODED_AGAIN = {
    "BMP": frozenset({"1", "L", "P", "RGB", "RGBA"}),
    "PPM": frozenset({"1", "L", "RGB", "I"}),
    "TIFF": frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"}),
}
"""Modes that Pillow writes as it read them."""


class Refused(Exception):  # noqa: N818  says why, not that something failed
    """A file of which no clean copy can be made without loss; the message is the reason."""


def without_metadata(data: bytes) -> bytes:
    """Return the same picture without metadata.

    Args:
        data: a file's bytes.

    Returns:
        A file of the same format whose decoded pixels, orientation and ICC profile are the same.

    Raises:
        Refused: the format is not one of JPEG, PNG, WebP, AVIF, GIF, BMP, PNM and TIFF, its structure is damaged, or it cannot be coded again
            without loss.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            clean = _cleaned(image, data, _orientation(image))
            left = metadata_families(Image.open(io.BytesIO(clean)), clean)
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, RuntimeError, struct.error, Image.DecompressionBombError) as error:
        raise Refused(f"cannot be taken apart: {' '.join(str(error).split())[:200] or type(error).__name__}") from error
    if left:
        raise Refused(f"would keep {', '.join(left)}")
    return clean


def _cleaned(image: Image.Image, data: bytes, orientation: int) -> bytes:
    exif = _orientation_alone(orientation) if orientation > 1 else b""
    ways = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": png_chunks.without_metadata_chunks, "WEBP": _webp}
    if image.format in ways:
        return ways[image.format](data, exif)
    if image.format == "GIF":
        return _gif(data)
    if image.format == "AVIF":
        return without_metadata_items(data)
    if image.format in _CODED_AGAIN:
        return _coded_again(image, stored_mode(image, data))
    raise Refused(f"{image.format or 'the format'} is not one that can be cleaned without loss")


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  damaged EXIF meets Pillow with any exception; readers then see no orientation either
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _orientation_alone(orientation: int) -> bytes:
    """Return a TIFF structure of one tag (EXIF 3.0, section 4.6)."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, orientation, 0, 0)


def _jpeg(data: bytes, exif: bytes) -> bytes:
    kept = [data[:2]]
    block = b"Exif\0\0" + exif
    own = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block if exif else b""
    frame, sequential, whole = b"", False, False
    for marker, content, raw in _segments(data):
        if whole and marker != _EOI and marker >= _FIRST_KNOWN:
            continue  # all components lie in one scan; no reader goes on to another, but behind a damaged marker some go on with this one
        wanted = _wanted(marker, content, raw)
        if own and wanted and marker != _APP0:  # JFIF's own segment comes first
            kept.append(own)
            own = b""
        kept.append(wanted)
        if marker in _FRAMES:
            frame, sequential = content, marker in _SEQUENTIAL
        whole = marker == _SOS and sequential and content[:1] == frame[5:6]
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and all bytes of each segment up to the end of the picture; a scan's coded pixels belong to its header's bytes."""
    at = 2
    while at < len(data):
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if data[at] != 0xFF:
            raise Refused(f"holds no marker at byte {at}")
        marker = data[at + 1]
        if marker == _EOI:
            yield marker, b"", b"\xff\xd9"
            return  # what lies behind it is another picture, or hidden
        content_end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if content_end < at + 4 or content_end > len(data):
            raise Refused("is cut off inside a segment")
        end = content_end
        if marker == _SOS:
            behind = _MARKER_BEHIND_SCAN.search(data, content_end)
            end = behind.start() if behind else len(data)
        yield marker, data[at + 4 : content_end], data[at:end]
        at = end


def _wanted(marker: int, content: bytes, raw: bytes) -> bytes:
    """Return what is kept of a segment, if anything."""
    if marker == _APP0 and content.startswith(_JFIF) and len(content) >= 14:
        # Version, density and a thumbnail; the thumbnail goes.
        return b"\xff\xe0\0\x10" + content[:12] + b"\0\0"
    if marker == _APP14 and content.startswith(_ADOBE) and len(content) >= 12:
        return b"\xff\xee\0\x0e" + content[:12]
    if marker in _DECODING or (marker == _APP2 and content.startswith(_ICC)):
        return raw
    if _APP0 <= marker <= _APP15 or marker in {_COM, _DNL}:  # libjpeg reads no number of lines from behind the pixels
        return b""
    raise Refused(f"holds a segment of marker {marker:02X}, which no reader knows")


def _webp(data: bytes, exif: bytes) -> bytes:
    clean = webp_chunks.without_metadata_chunks(data, exif)
    # Some readers go on behind the end that a damaged file says it has.
    if len(data) > 8 + struct.unpack("<I", data[4:8])[0] and not np.array_equal(np.asarray(_loaded(clean)), np.asarray(_loaded(data))):
        raise Refused("has pixels behind the end that it says it has")
    return clean


def _gif(data: bytes) -> bytes:
    kept = [b"GIF89a" + data[6 : first_block(data)]]
    loops, control = b"", b""
    for label, start, end in gif_blocks(data):
        if label == PLAIN_TEXT:
            raise Refused("holds text that is drawn over the picture")
        if label == IMAGE:
            kept += [control, data[start:end]]
            control = b""
        elif label == GRAPHIC_CONTROL:
            content = next(parts_of(data, start, end), b"")
            if len(content) != 4:
                raise Refused("holds a graphic control extension of another size than its fields")
            if control and content != control[3:7]:
                raise Refused("holds two graphic control extensions for one frame")
            control = b"\x21\xf9\x04" + content + b"\0"
        elif label == APPLICATION and data[start + 3 : start + 14] in _LOOPS and not loops:
            loops = next((part[:3] for part in list(parts_of(data, start, end))[1:] if part[:1] == b"\1" and len(part) >= 3), b"")
    if loops:
        kept.insert(1, b"\x21\xff\x0b" + _LOOPS[0] + b"\x03" + loops + b"\0")
    return b"".join((*kept, b"\x3b"))


def _coded_again(image: Image.Image, mode: str) -> bytes:
    if getattr(image, "n_frames", 1) > 1:
        raise Refused("holds several pages, which cannot be coded again without loss")
    if mode not in _CODED_AGAIN[str(image.format)]:
        raise Refused(f"holds pixels of mode {mode}, which cannot be coded again without loss")
    image.load()
    orientation = _orientation(image)  # asked only now: Pillow turns a TIFF upright when it loads it
    bare = image.copy()
    bare.info = {}
    options: dict[str, object] = {}
    if image.format == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
        if orientation > 1:
            options["tiffinfo"] = {int(ExifTags.Base.Orientation): orientation}
        if image.info.get("icc_profile"):
            options["icc_profile"] = image.info["icc_profile"]
    stream = io.BytesIO()
    bare.save(stream, image.format, **options)
    again = _loaded(stream.getvalue())
    if again.mode != image.mode or again.getpalette() != image.getpalette() or not np.array_equal(np.asarray(again), np.asarray(image)):
        raise Refused("has pixels that cannot be coded again without loss")
    return stream.getvalue()


def _loaded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image

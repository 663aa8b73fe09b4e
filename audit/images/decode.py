"""Decode one image's bytes to upright 8-bit RGB pixels and file facts, once per scan.

A JPEG of more than twice the needed size is decoded at 1/2, 1/4 or 1/8 scale in the DCT domain (Pillow's *draft* mode). Measures use a short side of
at most 256 px and the model less, so results do not change, but a 12-megapixel photo takes a tenth of the time.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from audit.errors import reason
from audit.images.metadata import metadata_families, orientation_of
from audit.images.provenance import Provenance, provenance

SUFFICIENT_SIDE = 512
"""Minimum short side, in pixels, of a scaled JPEG decode: twice what the measures use, so that their own downscaling still averages."""

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs. Equals Pillow's error limit (2 x 1 GiB / 4 / 3 pixels)."""

_STARTS_PROGRAMS = frozenset({"EPS", "WMF"})
"""Formats that Pillow renders with another program."""

_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")

_MANY_PARTS = 200
"""Scans or frames of a small file that may take minutes; common files have at most about ten scans."""

_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths of cameras and scanners; a 16-bit file with 12-bit content is scaled by the depth of its content."""

_MAX_SIZE = 2**31 - 1
"""The largest value that the tables can store; corrupt headers claim more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Properties from an image file's header; None if it could not be read."""

    format: str | None = None
    mode: str | None = None
    """Pillow's mode, followed by ``;16`` if channels have more than 8 bits."""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    orientation: int | None = None
    has_alpha: bool | None = None
    exif_families: tuple[str, ...] = ()
    """``family/source`` of ``audit.images.metadata``."""
    origin: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of one decode. ``image`` is None exactly if ``outcome`` is not ``ok``."""

    outcome: str
    error: str | None
    facts: FileFacts = field(default_factory=FileFacts)
    image: Image.Image | None = None
    """Upright, mode RGB; the first frame; transparency composited on white."""


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decode an image from its bytes; never raises, even for corrupt or hostile bytes.

    Args:
        data: the file's bytes.
        max_pixels: images whose header claims more are not decoded (outcome ``too_large``).

    Returns:
        The upright RGB image, or the outcome and the reason of the failure.
    """
    if not data:
        return Decoded("empty", "the file has zero bytes")
    facts = FileFacts()
    try:
        with _WITHOUT_WARNINGS:  # Pillow warns about odd metadata and large images; findings report both
            with _own_limit():
                image = Image.open(io.BytesIO(data), formats=_formats())
            width, height = image.size
            if width * height > max_pixels:  # before anything but the header is read: Pillow decodes a PNG to read its text, a GIF to count frames
                facts = FileFacts(format=image.format, width=min(width, _MAX_SIZE), height=min(height, _MAX_SIZE))
                return Decoded("too_large", f"{width} x {height} pixels, more than the limit of {max_pixels}", facts)
            facts = _facts(image, data)
            _scale_in_decoder(image)
            image.load()
            if image.format == "PNG":  # text chunks may follow the pixels
                facts = replace(facts, exif_families=metadata_families(image, data))
            upright = ImageOps.exif_transpose(image) if facts.orientation not in {None, 1} else image
            return Decoded("ok", None, facts, _to_rgb(upright))
    except UnidentifiedImageError:
        return Decoded("unreadable", _unreadable_reason(data), facts)
    except Exception as error:  # noqa: BLE001  decoders raise anything on hostile bytes; a broken image never stops a scan
        message = reason(error)
        truncated = "truncated" in message.lower() or isinstance(error, EOFError)
        return Decoded("truncated" if truncated else "unreadable", message, facts)


def has_many_parts(data: bytes) -> bool:
    """Return whether an image has so many scans or frames that decoding or counting them may take minutes."""
    if data.startswith(b"\xff\xd8"):
        return data.count(b"\xff\xda") > _MANY_PARTS  # entropy-coded data contains no markers
    return max(data.count(b"\x21\xf9\x04"), data.count(b"ANMF"), data.count(b"fcTL")) > _MANY_PARTS


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _STARTS_PROGRAMS]


class _WithoutWarnings:
    """Ignores warnings while any thread decodes. Filters are global: two threads that save and restore them could leave them disabled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


_WITHOUT_WARNINGS = _WithoutWarnings()
_OPENING = threading.Lock()


@contextmanager
def _own_limit() -> Iterator[None]:
    """Disable Pillow's global pixel limit; the caller checks its own right after the header, before any pixel is decoded.

    Serialised by a lock, because two threads would overwrite each other's saved limit. Only headers are read while it is held.
    """
    with _OPENING:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _scale_in_decoder(image: Image.Image) -> None:
    if image.format == "JPEG":
        scale = min(image.size) / SUFFICIENT_SIDE
        if scale >= 2:
            image.draft(None, (math.ceil(image.size[0] / scale), math.ceil(image.size[1] / scale)))


def _facts(image: Image.Image, data: bytes) -> FileFacts:
    orientation = orientation_of(image) if image.info.get("exif") or image.format in {"TIFF", "MPO"} else 1
    width, height = image.size if orientation < 5 else image.size[::-1]
    is_mpo = image.format == "MPO"  # a JPEG followed by a preview or depth map: readers show one image
    return FileFacts(
        format="JPEG" if is_mpo else image.format,
        mode=stored_mode(image, data),
        width=width if width <= _MAX_SIZE else None,
        height=height if height <= _MAX_SIZE else None,
        frames=1 if is_mpo else min(int(getattr(image, "n_frames", 1)), _MAX_SIZE),
        orientation=orientation,
        has_alpha=image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info,
        exif_families=metadata_families(image, data),
        origin=provenance(image),
    )


def stored_mode(image: Image.Image, data: bytes) -> str:
    """Return an opened image's mode, with ``;16`` if color channels have more than 8 bits, which Pillow's mode shows only for gray images.

    Args:
        image: the opened image, before its pixels are loaded.
        data: the file's bytes.
    """
    deep = False
    if image.mode.startswith(("I", "F")):
        return image.mode
    if image.format == "PNG":
        deep = data[12:16] == b"IHDR" and data[24] > 8  # ISO/IEC 15948, 11.2.2: the byte after width and height
    elif image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE)
        deep = isinstance(bits, tuple) and any(isinstance(depth, int) and depth > 8 for depth in bits)
    elif image.format == "PPM":
        highest = [part for tile in getattr(image, "tile", ()) for part in (tile[3] if isinstance(tile[3], tuple) else ()) if isinstance(part, int)]
        deep = any(value > 255 for value in highest)
    return f"{image.mode};16" if deep else image.mode


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def eight_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale deep gray values to 8 bits by the depth of their content.

    Args:
        values: ``[h, w]`` integers of up to 32 bits, or floats.

    Returns:
        uint8 ``[h, w]``. Integers are scaled by the smallest of 8, 10, 12, 14, 16 bits that holds their maximum (full range beyond that); floats in
        [0, 1] by 255; other floats from their minimum to their maximum. Non-finite values count as 0.
    """
    if values.dtype.kind == "f":
        numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (0.0, 1.0) if numbers.min(initial=0.0) >= 0 and numbers.max(initial=0.0) <= 1 else (float(numbers.min()), float(numbers.max()))
    else:
        numbers = np.maximum(values.astype(np.float64), 0.0)
        peak = float(numbers.max(initial=0.0))
        low, high = 0.0, next((2.0**depth - 1 for depth in _DEPTHS if peak < 2**depth), peak)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((numbers - low) * (255.0 / (high - low))).astype(np.uint8)


def _unreadable_reason(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "not an image: the file holds an HTML page, as left by a failed download"
    if data.startswith(_POSTSCRIPT):
        return "PostScript, which would be run as a program; convert the file to PNG or TIFF"
    if head.startswith((b"<?xml", b"<svg")):
        return "not a raster image: the file holds XML or SVG"
    if not any(data[:4096]):
        return "not an image: the file begins with zero bytes only, as left by an interrupted copy"
    if data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif"}:
        return "HEIC, which this machine cannot decode; convert the file or register a Pillow plugin for it"
    return "not an image in any known format"

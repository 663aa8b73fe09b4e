"""One image's bytes -> upright 8-bit RGB pixels and the facts of its file: the only decode an image gets.

A JPEG of more than twice the needed size is decoded at 1/2, 1/4 or 1/8 in the DCT domain (Pillow's *draft*): every measure is taken at a short side
of at most 256 px and the model sees less, so nothing downstream can tell, but a 12-megapixel photo costs a tenth.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from audit.images.metadata import metadata_families
from audit.images.provenance import Provenance, provenance

SUFFICIENT_SIDE = 512
"""Short side, in pixels, that a scaled JPEG decode must keep: twice what the measures use, so that their own reduction still averages."""

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs; Pillow's own error limit (2 x 1 GiB / 4 / 3 pixels)."""

_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths in which cameras and scanners deliver; a 16-bit file with 12-bit content is scaled by its content's depth."""

_MOST = 2**31 - 1
"""The largest size that the tables hold; damaged headers announce more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What an image file says of itself; None where its header could not be read."""

    format: str | None = None
    mode: str | None = None
    """As Pillow has it; with ``;16`` where channels have 16 bits."""
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
    """The result of one decode. ``image`` is None exactly where ``outcome`` is not ``ok``."""

    outcome: str
    error: str | None
    facts: FileFacts = field(default_factory=FileFacts)
    image: Image.Image | None = None
    """Upright, mode RGB; the first frame of several; transparency laid on white."""


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decode an image from its bytes; never raises for what the bytes hold.

    Args:
        data: the file's bytes.
        max_pixels: images whose header announces more are not decoded (outcome ``too_large``).

    Returns:
        The upright RGB image, or the outcome and the reason why there is none.
    """
    if not data:
        return Decoded("empty", "the file has zero bytes")
    facts = FileFacts()
    try:
        with _WITHOUT_WARNINGS:  # Pillow warns of odd metadata and of large images; both are reported as findings instead
            with _own_limit():
                image = Image.open(io.BytesIO(data))
            facts = _facts(image, data)
            pixels = image.size[0] * image.size[1]
            if pixels > max_pixels:
                return Decoded("too_large", f"{image.size[0]} x {image.size[1]} pixels, more than the limit of {max_pixels}", facts)
            _scale_in_decoder(image)
            image.load()
            if image.format == "PNG":  # text may lie behind the pixels
                facts = replace(facts, exif_families=metadata_families(image, data))
            upright = ImageOps.exif_transpose(image) if facts.orientation not in {None, 1} else image
            return Decoded("ok", None, facts, _to_rgb(upright))
    except UnidentifiedImageError:
        return Decoded("unreadable", _what_it_is(data), facts)
    except Exception as error:  # noqa: BLE001  a decoder may raise anything on hostile bytes; a broken image never ends a scan
        message = _one_line(error)
        cut_short = "truncated" in message.lower() or isinstance(error, EOFError)
        return Decoded("truncated" if cut_short else "unreadable", message, facts)


class _WithoutWarnings:
    """Ignores warnings while any thread decodes: two that each kept and put back Python's one list of filters could leave them ignored for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._kept = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._kept.__exit__(None, None, None)


_WITHOUT_WARNINGS = _WithoutWarnings()
_OPENING = threading.Lock()


@contextmanager
def _own_limit() -> Iterator[None]:
    """Switch off Pillow's fixed limit: the caller's own is checked right after the header is read, before any pixel is.

    One thread at a time: two would each take the other's for Pillow's, and leave it off or put it back too early. Only headers are read meanwhile.
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
    orientation = _orientation(image)
    width, height = image.size if orientation < 5 else image.size[::-1]
    multi_picture = image.format == "MPO"  # a JPEG with a preview or a depth map behind it: one picture to any reader
    return FileFacts(
        format="JPEG" if multi_picture else image.format,
        mode=stored_mode(image, data),
        width=width if width <= _MOST else None,
        height=height if height <= _MOST else None,
        frames=1 if multi_picture else min(int(getattr(image, "n_frames", 1)), _MOST),
        orientation=orientation,
        has_alpha=image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info,
        exif_families=metadata_families(image, data),
        origin=provenance(image),
    )


def stored_mode(image: Image.Image, data: bytes) -> str:
    """Return an opened image's mode, with ``;16`` where channels of colors have more than 8 bits: Pillow tells of that in gray alone.

    Args:
        image: as Pillow opens it, before its pixels are loaded.
        data: the file's bytes.
    """
    deep = False
    if image.mode.startswith(("I", "F")):
        return image.mode
    if image.format == "PNG":
        deep = data[12:16] == b"IHDR" and data[24] > 8  # ISO/IEC 15948, 11.2.2: the byte behind width and height
    elif image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE)
        deep = isinstance(bits, tuple) and any(isinstance(depth, int) and depth > 8 for depth in bits)
    elif image.format == "PPM":
        highest = [part for tile in getattr(image, "tile", ()) for part in (tile[3] if isinstance(tile[3], tuple) else ()) if isinstance(part, int)]
        deep = any(value > 255 for value in highest)
    return f"{image.mode};16" if deep else image.mode


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 where there is none; a damaged block counts as absent."""
    if image.info.get("exif") or image.format in {"TIFF", "MPO"}:
        # EXIF blocks are often damaged in ways Pillow meets with any exception; the pixels matter more.
        with suppress(Exception):
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
            return found if isinstance(found, int) and 1 <= found <= 8 else 1
    return 1


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
        [0, 1] by 255; other floats from their minimum to their maximum. Values that are not finite count as 0.
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


def _what_it_is(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "not an image: the file holds an HTML page, as left by a failed download"
    if head.startswith((b"<?xml", b"<svg")):
        return "not a raster image: the file holds XML or SVG"
    if not any(data[:4096]):
        return "not an image: the file begins with zero bytes only, as left by an interrupted copy"
    if data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif"}:
        return "HEIC, which this machine cannot decode; convert the file or register a Pillow plugin for it"
    return "not an image in any known format"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

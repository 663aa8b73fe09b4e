"""A file's provenance: its camera, the day as a coarse code, and its JPEG encoder."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from PIL import ExifTags, Image, JpegImagePlugin

DAY_CODES = 16
"""Number of day codes. The code of a day is public, so it narrows a date that is roughly known: about 23 days of a year share each code, but 15% of
the days of a month, and 68% of the days of a week, have a unique code.

A secret key would hide the day, but the rows of one run come from several machines and, through the cache, from earlier runs. Different keys would
give one day several codes, and a key stored with the run or the cache would not be secret."""

_DAY = re.compile(r"(?!0000)\d{4}:(?!00)\d\d:(?!00)\d\d(?!\d)")


class Provenance(NamedTuple):
    """A file's provenance; None where it is not recorded."""

    camera: str | None = None
    """EXIF make and model."""
    day_code: int | None = None
    """0..15; equal for images taken on the same day, and for one in sixteen other days."""
    encoder: str | None = None
    """For a JPEG: the quality of libjpeg's luma table, or a digest of another table, and whether it is progressive.

    Excludes properties that gray images lack, such as chroma subsampling: gray images of one source would look like a separate source."""


def provenance(image: Image.Image) -> Provenance:
    """Return a file's provenance from its header; a corrupt block counts as absent.

    Args:
        image: the file as Pillow opened it, before its pixels are loaded.
    """
    camera, day = None, None
    if image.info.get("exif") or image.format in {"TIFF", "MPO"}:
        # Pillow raises arbitrary exceptions for corrupt EXIF, which is common.
        with suppress(Exception):
            exif = image.getexif()
            camera = " ".join(str(exif[tag]).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if exif.get(tag)) or None
            taken = exif.get_ifd(ExifTags.IFD.Exif)
            day = day_code(str(taken.get(ExifTags.Base.DateTimeOriginal) or taken.get(ExifTags.Base.DateTimeDigitized) or ""))
    encoder = None
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        with suppress(Exception):
            encoder = _encoder(image)
    return Provenance(camera, day, encoder)


def day_code(written: str) -> int | None:
    """Return the day code of an EXIF date, ``YYYY:MM:DD HH:MM:SS``; None if it is not a date.

    >>> day_code("2012:07:03 10:00:00") == day_code("2012:07:03 23:59:59"), day_code("0000:00:00 00:00:00")
    (True, None)
    """
    day = _DAY.match(written)
    return int.from_bytes(hashlib.sha256(day[0].encode()).digest()[:2], "big") % DAY_CODES if day else None


def _encoder(image: JpegImagePlugin.JpegImageFile) -> str | None:
    if not image.quantization:
        return None
    luma = _luma(image)
    quality = _qualities().get(luma)
    coded = f"quality {quality}" if quality else f"table {hashlib.sha256(repr(luma).encode()).hexdigest()[:8]}"
    return f"{coded}, progressive" if image.info.get("progressive") else coded


def _luma(image: JpegImagePlugin.JpegImageFile) -> tuple[int, ...]:
    return tuple(image.quantization[min(image.quantization)])


@cache
def _qualities() -> dict[tuple[int, ...], int]:
    """Return the quality of each luma table of Pillow's libjpeg."""
    found: dict[tuple[int, ...], int] = {}
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("L", (8, 8)).save(stream, "JPEG", quality=quality)
        written = Image.open(stream)
        if isinstance(written, JpegImagePlugin.JpegImageFile):
            found[_luma(written)] = quality
    return found

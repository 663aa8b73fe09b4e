"""What a file tells of where it came from: the camera, the day as one of a few codes, and how its JPEG was coded."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from PIL import ExifTags, Image, JpegImagePlugin

DAY_CODES = 16
"""How many day codes there are. Anybody can compute the code of any day, so it tells one who knows when a picture was taken more or less: of a year's
days about 23 share each code, but of a month's days 15% have one that no other has, of a week's 68%.

A secret key would hide the day, but codes of one run come from several machines and from earlier runs, through the cache, which knows images by
content alone: keys of their own would give one day several codes, and a key that travels with the run or the cache is no secret."""

_DAY = re.compile(r"(?!0000)\d{4}:(?!00)\d\d:(?!00)\d\d(?!\d)")


class Provenance(NamedTuple):
    """Where a file came from; None where it does not say."""

    camera: str | None = None
    """EXIF's make and model."""
    day_code: int | None = None
    """0..15, equal for pictures taken on one day; different days share one as often as one in sixteen."""
    encoder: str | None = None
    """Of a JPEG: the quality of libjpeg's luma table or a digest of another one, and whether it is progressive.

    Nothing that a gray picture lacks, such as chroma subsampling: gray pictures of one source would look like a source of their own."""


def provenance(image: Image.Image) -> Provenance:
    """Return where a file came from, as far as its header says; a damaged block counts as absent.

    Args:
        image: the file as Pillow opened it, before its pixels are loaded.
    """
    camera, day = None, None
    if image.info.get("exif") or image.format in {"TIFF", "MPO"}:
        # EXIF blocks are often damaged in ways Pillow meets with any exception; the pixels matter more.
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
    """Return the code of a date as EXIF writes it, ``YYYY:MM:DD HH:MM:SS``; None where it is none.

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
    """Return libjpeg's luma tables -> quality, as the library that Pillow holds writes them."""
    found: dict[tuple[int, ...], int] = {}
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("L", (8, 8)).save(stream, "JPEG", quality=quality)
        written = Image.open(stream)
        if isinstance(written, JpegImagePlugin.JpegImageFile):
            found[_luma(written)] = quality
    return found

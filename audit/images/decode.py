"""Decode one image's bytes to upright 8-bit RGB pixels and file facts, once per scan.

A JPEG of more than twice the needed size is decoded at 1/2, 1/4 or 1/8 scale in the DCT domain (Pillow's *draft* mode). Measures use a short side of
at most 256 px and the model less, so results do not change, but a 12-megapixel photo takes a tenth of the time.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from audit.errors import reason
from audit.images.appended import appended
from audit.images.deep import BANDS, HEIGHT, WIDTH, Ranges, Values, eight_bits, is_multiband, points, read_deep_color, read_multiband, tiff_fields
from audit.images.jpeg_completeness import missing_part
from audit.images.jpeg_damage import MISSING, damage
from audit.images.jpeg_stream import JpegStream, parse_jpeg
from audit.images.metadata import metadata_families, orientation_of
from audit.images.other_formats import other_format, read_dicom, read_raw, register
from audit.images.provenance import Provenance, provenance
from audit.images.signatures import HEAD_BYTES, not_an_image

SUFFICIENT_SIDE = 512
"""Minimum short side, in pixels, of a scaled JPEG decode: twice what the measures use, so that their own downscaling still averages."""

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs. Equals Pillow's error limit (2 x 1 GiB / 4 / 3 pixels)."""

_STARTS_PROGRAMS = frozenset({"EPS", "WMF"})
"""Formats that Pillow renders with another program."""

_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")

_MANY_PARTS = 200
"""Scans or frames of a small file that may take minutes; common files have at most about ten scans."""

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
    appended: str | None = None
    """Size and kind of data after the end of the image."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of one decode. ``image`` is None exactly if ``outcome`` is not ``ok``."""

    outcome: str
    error: str | None
    facts: FileFacts = field(default_factory=FileFacts)
    image: Image.Image | None = None
    """Upright, mode RGB; the first frame; transparency on white, or on black or gray if much would be invisible there; deep values scaled to 8
    bits, of more than 4 bands the first three."""
    stored: Values | None = None
    """Upright values of all channels, if ``image`` does not show all of them: transparency, more than 8 bits, more than 3 bands."""


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, ranges: Ranges | None = None) -> Decoded:
    """Decode an image from its bytes; never raises, even for corrupt or hostile bytes.

    Args:
        data: the file's bytes.
        max_pixels: images whose header claims more are not decoded (outcome ``too_large``).
        ranges: how deep values are scaled, by mode; each image by its own values if None or if its mode is not among them.

    Returns:
        The upright RGB image, or the outcome and the reason of the failure.
    """
    if not data:
        return Decoded("empty", "the file has zero bytes")
    facts = [FileFacts()]
    try:
        with _WITHOUT_WARNINGS:  # Pillow warns about odd metadata and large images; findings report both
            return _decoded(data, max_pixels, ranges or {}, facts)
    except UnidentifiedImageError:
        return Decoded("unreadable", _unreadable_reason(data))
    except ImportError as error:
        return Decoded("unreadable", reason(error), facts[-1])
    except Exception as error:  # noqa: BLE001  decoders raise anything on hostile bytes; a broken image never stops a scan
        message = reason(error)
        truncated = "truncated" in message.lower() or isinstance(error, EOFError)
        return Decoded("truncated" if truncated else "unreadable", message, facts[-1])


def _decoded(data: bytes, max_pixels: int, ranges: Ranges, found: list[FileFacts]) -> Decoded:
    other = other_format(data)
    if other in ("DICOM", "camera raw"):
        return _by_package(other, data, max_pixels, ranges, found)
    fields = tiff_fields(data)
    if is_multiband(fields):
        return _multiband(data, fields, max_pixels, ranges, found)
    with _own_limit():
        try:
            image = Image.open(io.BytesIO(data), formats=_formats())
        except UnidentifiedImageError:
            if other is None:
                raise
            register(other)
            image = Image.open(io.BytesIO(data), formats=_formats())
    width, height = image.size
    if width * height > max_pixels:  # before anything but the header is read: Pillow decodes a PNG to read its text, a GIF to count frames
        return _too_large(FileFacts(format=image.format, width=min(width, _MAX_SIZE), height=min(height, _MAX_SIZE)), image.size, max_pixels)
    stream = parse_jpeg(data) if image.format in ("JPEG", "MPO") else None
    facts = _facts(image, data, stream)
    found.append(facts)
    _scale_in_decoder(image)
    image.load()
    if image.format == "JPEG" and stream and image.mode in ("RGB", "L") and (gone := missing_part(data, stream, image)):
        return Decoded("truncated", gone, facts)
    if image.format == "JPEG" and stream and image.mode in ("RGB", "L") and (wrong := damage(data, stream, image)):
        return Decoded("truncated" if wrong == MISSING else "unreadable", wrong, facts)
    if image.format == "PNG":  # text chunks may follow the pixels
        facts = replace(facts, exif_families=metadata_families(image, data))
    return _upright(image, data, facts, ranges)


def _upright(image: Image.Image, data: bytes, facts: FileFacts, ranges: Ranges) -> Decoded:
    """Return the decode of a loaded image."""
    upright = ImageOps.exif_transpose(image) if facts.orientation not in {None, 1} else image
    mode = facts.mode or ""
    if mode.endswith(";16") and image.format in ("PNG", "TIFF") and (values := read_deep_color(data)) is not None:
        values = _turned(values, facts.orientation)
        return _of_values(values, mode, facts, ranges)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _of_values(np.asarray(upright), mode, facts, ranges)
    rgb, stored = _to_rgb(upright)
    return Decoded("ok", None, facts, rgb, stored)


def _too_large(facts: FileFacts, size: tuple[int, int], max_pixels: int) -> Decoded:
    return Decoded("too_large", f"{size[0]} x {size[1]} pixels, more than the limit of {max_pixels}", facts)


def _by_package(name: str, data: bytes, max_pixels: int, ranges: Ranges, found: list[FileFacts]) -> Decoded:
    """Decode DICOM or a camera's raw file. Raises ImportError with the package that is missing."""
    found.append(FileFacts(format=name))
    try:
        values, mode = read_dicom(data, max_pixels) if name == "DICOM" else (read_raw(data, max_pixels), "RGB")
    except OverflowError as error:
        return Decoded("too_large", str(error), found[-1])
    facts = FileFacts(format=name, mode=mode, width=values.shape[1], height=values.shape[0], frames=1, orientation=1, has_alpha=False)
    found.append(facts)
    if values.dtype == np.uint8 and values.ndim == 3:
        return Decoded("ok", None, facts, Image.fromarray(values))
    return _of_values(values, mode, facts, ranges)


def _multiband(data: bytes, fields: Mapping[int, int], max_pixels: int, ranges: Ranges, found: list[FileFacts]) -> Decoded:
    """Decode a TIFF of several bands: the image shows the first three, or the first of two."""
    bands, width, height = fields[BANDS], fields.get(WIDTH, 0), fields.get(HEIGHT, 0)
    facts = FileFacts(
        format="TIFF", mode=f"{bands} bands", width=min(width, _MAX_SIZE), height=min(height, _MAX_SIZE), frames=1, orientation=1, has_alpha=False
    )
    found.append(facts)
    if width * height * bands > 3 * max_pixels:
        return _too_large(facts, (width, height), max_pixels)
    values = read_multiband(data)
    if values.dtype == np.uint8 and values.ndim == 3:
        values = values.astype(np.uint16)  # read as values, not as a picture with transparency
    facts = replace(facts, mode=f"{bands} bands;{8 * values.dtype.itemsize}")
    found.append(facts)
    return _of_values(values, facts.mode or "", facts, ranges)


def _of_values(values: Values, mode: str, facts: FileFacts, ranges: Ranges) -> Decoded:
    """Return the decode of deep or multiband values, scaled to 8 bits."""
    shown = values if values.ndim == 2 else values[..., :3] if values.shape[2] >= 3 else values[..., 0]
    scaled = eight_bits(shown, ranges.get(mode))
    if values.ndim == 3 and values.shape[2] == 4 and " bands" not in mode:  # transparency
        alpha = eight_bits(values[..., 3], (0, 2 ** (8 * values.dtype.itemsize) - 1 if values.dtype.kind == "u" else 1))
        rgb, _ = _to_rgb(Image.fromarray(np.dstack([scaled, alpha])))
        return Decoded("ok", None, facts, rgb, values)
    return Decoded("ok", None, facts, Image.fromarray(scaled).convert("RGB"), values)


def deep_values(data: bytes, max_pixels: int) -> tuple[str, bool, npt.NDArray[np.float64]] | None:
    """Return the mode of a deep or multiband image, whether its values are floats, and some of them; None for any other image, or none at all."""
    found = decode(data, max_pixels=max_pixels)
    if found.stored is None or found.stored.dtype == np.uint8:
        return None
    values = found.stored[..., :3] if found.stored.ndim == 3 else found.stored
    return found.facts.mode or "", found.stored.dtype.kind == "f", points(values)


_TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
"""How values are turned upright, by EXIF orientation (CIPA DC-008, 4.6.4)."""


def _turned(values: Values, orientation: int | None) -> Values:
    turn = _TURNS.get(orientation or 1)
    return np.ascontiguousarray(turn(values)) if turn else values


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


def _facts(image: Image.Image, data: bytes, stream: JpegStream | None) -> FileFacts:
    orientation = orientation_of(image) if image.info.get("exif") or image.format in {"TIFF", "MPO"} else 1
    width, height = image.size if orientation < 5 else image.size[::-1]
    is_mpo = image.format == "MPO"  # a JPEG followed by a preview or depth map: readers show one image
    families = metadata_families(image, data)
    return FileFacts(
        format="JPEG" if is_mpo else image.format,
        mode=stored_mode(image, data),
        width=width if width <= _MAX_SIZE else None,
        height=height if height <= _MAX_SIZE else None,
        frames=1 if is_mpo else min(int(getattr(image, "n_frames", 1)), _MAX_SIZE),
        orientation=orientation,
        has_alpha=image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info,
        exif_families=families,
        origin=provenance(image),
        appended=appended(data, image.format, stream, families),
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


_INVISIBLE = 16
"""Mean difference from the ground, 0..255, below which a pixel is invisible on it."""

_HIDDEN = 0.1
"""Share of what an image shows that may be invisible on white; if more is, and at most half as much on black or gray, the image is laid on that."""


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Values | None]:
    """Return an image as RGB; also all its channels, if it has transparency.

    Transparency is laid on white, as most viewers show it. If much would be invisible there, such as white symbols, it is laid on black or gray.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, None
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = np.array(image.convert("RGBA"))
        alpha = rgba[..., 3]
        if (alpha == 255).all():
            return Image.fromarray(rgba[..., :3]), None
        rgba[alpha == 0] = 0
        ground = Image.new("RGBA", image.size, _ground(rgba))
        return Image.alpha_composite(ground, Image.fromarray(rgba)).convert("RGB"), rgba
    return image.convert("RGB"), None


def _ground(rgba: npt.NDArray[np.uint8]) -> str:
    """Return the color of the ground on which an image with transparency shows most, with preference for white, given ``[h, w, 4]``."""
    shown = rgba[rgba[..., 3] > 0].astype(np.int16)
    if not len(shown):
        return "white"
    weight = shown[:, 3].astype(np.float64)

    def hidden(level: int) -> float:
        return float(weight[np.abs(shown[:, :3] - level).mean(axis=1) < _INVISIBLE].sum() / weight.sum())

    on_white = hidden(255)
    if on_white <= _HIDDEN:
        return "white"
    on_black, on_gray = hidden(0), hidden(128)
    other = "black" if on_black <= on_gray else "gray"
    return other if min(on_black, on_gray) <= on_white / 2 else "white"


def _unreadable_reason(data: bytes) -> str:
    if data.startswith(_POSTSCRIPT):
        return "PostScript, which would be run as a program; convert the file to PNG or TIFF"
    found = not_an_image(data[:HEAD_BYTES])
    return f"{NOT_AN_IMAGE}{found[0]}; {found[1]}" if found else "not an image in any known format"


NOT_AN_IMAGE = "not an image: contains "
"""Start of the error of a file whose first bytes say what it is instead of an image."""

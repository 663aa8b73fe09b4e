"""BMP, PNM and single-page TIFF: encode again without loss, and compare the pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image

from audit.exports.metadata_removal.orientation import orientation_of
from audit.exports.metadata_removal.refused import Refused

MODES = {
    "BMP": frozenset({"1", "L", "P", "RGB", "RGBA"}),
    "PPM": frozenset({"1", "L", "RGB", "I"}),
    "TIFF": frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"}),
}
"""Format -> modes that Pillow writes as it read them."""


def encoded_again(image: Image.Image, mode: str) -> bytes:
    """Return the image encoded again in its own format; a TIFF keeps its orientation and ICC profile.

    Args:
        image: an image in one of the formats in `MODES`, not loaded yet.
        mode: its mode in the file, as `audit.images.decode.stored_mode` returns it.

    Raises:
        Refused: it has several pages, or encoding it again would change pixels.
    """
    if getattr(image, "n_frames", 1) > 1:
        raise Refused("has several pages, which cannot be encoded again without loss")
    if mode not in MODES[str(image.format)]:
        raise Refused(f"has pixels of mode {mode}, which cannot be encoded again without loss")
    image.load()
    orientation = orientation_of(image)  # read after loading: Pillow turns a TIFF upright when it loads it
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
    again = Image.open(stream)
    again.load()
    if again.mode != image.mode or again.getpalette() != image.getpalette() or not np.array_equal(np.asarray(again), np.asarray(image)):
        raise Refused("has pixels that cannot be encoded again without loss")
    return stream.getvalue()

"""Remove metadata from an image file; the coded pixels are copied, not encoded again, where the format allows it.

One module per format lists what is kept; all other parts are dropped, and a kept block contains no more than its kind needs. The orientation stays,
as an EXIF block with no other tag. BMP, PNM and TIFF are encoded again without loss, and compared.
"""

from __future__ import annotations

import io
import struct
import warnings

from PIL import ExifTags, Image

from audit.errors import reason
from audit.exports.metadata_removal.gif import without_metadata_blocks
from audit.exports.metadata_removal.jpeg import without_metadata_segments
from audit.exports.metadata_removal.png import without_metadata_chunks as without_png_metadata
from audit.exports.metadata_removal.recoded import MODES, encoded_again
from audit.exports.metadata_removal.refused import Refused
from audit.exports.metadata_removal.webp import without_metadata_chunks as without_webp_metadata
from audit.images.decode import stored_mode
from audit.images.metadata import metadata_families, orientation_of

__all__ = ["Refused", "without_metadata"]

_WITH_EXIF = {"JPEG": without_metadata_segments, "MPO": without_metadata_segments, "PNG": without_png_metadata, "WEBP": without_webp_metadata}
_SUPPORTED = "JPEG, PNG, WebP, GIF, BMP, PNM and TIFF"


def without_metadata(data: bytes) -> bytes:
    """Return a copy of an image file without metadata.

    Args:
        data: the file's bytes.

    Returns:
        A file of the same format whose decoded pixels, orientation and ICC profile are the same.

    Raises:
        Refused: the format is not one of JPEG, PNG, WebP, GIF, BMP, PNM and TIFF, its structure is corrupt, or it cannot be encoded again
            without loss.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            clean = _cleaned(image, data)
            left = metadata_families(Image.open(io.BytesIO(clean)), clean)
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, RuntimeError, struct.error, Image.DecompressionBombError) as error:
        raise Refused(f"cannot be parsed: {reason(error)}") from error
    if left:
        raise Refused(f"would keep {', '.join(left)}")
    return clean


def _cleaned(image: Image.Image, data: bytes) -> bytes:
    if image.format in _WITH_EXIF:
        orientation = orientation_of(image)
        # A TIFF structure that contains only the orientation tag (EXIF 3.0, section 4.6).
        block = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, orientation, 0, 0)
        return _WITH_EXIF[image.format](data, block if orientation > 1 else b"")
    if image.format == "GIF":
        return without_metadata_blocks(data)
    if image.format in MODES:
        return encoded_again(image, stored_mode(image, data))
    raise Refused(f"{image.format or 'this format'} cannot be copied without metadata; supported are {_SUPPORTED}")

"""The EXIF orientation of an image, the only EXIF tag that a clean copy keeps."""

from __future__ import annotations

import struct

from PIL import ExifTags, Image


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 if it is missing or the EXIF block is corrupt."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  Pillow raises any exception on corrupt EXIF; other readers see no orientation either
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def orientation_block(orientation: int) -> bytes:
    """Return a TIFF structure that contains only the orientation tag (EXIF 3.0, section 4.6)."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, orientation, 0, 0)

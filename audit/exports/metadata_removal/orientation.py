"""The EXIF orientation of an image, the only EXIF tag that a clean copy keeps."""

from __future__ import annotations

import struct

from PIL import ExifTags


def orientation_block(orientation: int) -> bytes:
    """Return a TIFF structure that contains only the orientation tag (EXIF 3.0, section 4.6)."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, orientation, 0, 0)

"""HEIC and cameras' raw files, where their packages are installed."""

import base64
import io

import numpy as np
import pytest

from audit.images.decode import decode

HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERAAAEA"
    "AQAAAAABoQABAAAAAAAAADcAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmND"
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAA"
    "AAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAA"
    "Av///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAD9tZGF0AAAAMygBr1j5ExV/8+7/2VyGjsHO+/IUXBdPu4oWqZv9"
    "/T3XB82LSpFjwEqWzg2LPTLakhReXg=="
)
"""48 x 32 pixels: the left half red, the right half blue, the lower half darker."""


def dng():
    """Return a DNG of 96 x 64 sensor values, RGGB, of which the right half is darker."""
    import tifffile

    values = np.zeros((64, 96), np.uint16)
    values[0::2, 0::2], values[0::2, 1::2], values[1::2, 0::2], values[1::2, 1::2] = 3000, 1500, 1500, 500
    values[:, 48:] //= 4
    tags = [
        (50706, "B", 4, bytes([1, 4, 0, 0]), True),  # version of DNG
        (50707, "B", 4, bytes([1, 1, 0, 0]), True),
        (50708, "s", 0, "Test Camera", True),
        (33421, "H", 2, (2, 2), True),  # size and colors of the sensor's pattern
        (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50714, "H", 1, (0,), True),  # black and white
        (50717, "H", 1, (4095,), True),
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),  # color matrix
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # neutral color
        (50778, "H", 1, (21,), True),
    ]
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric=32803, extratags=tags, metadata=None)
    return out.getvalue()


def test_heic_is_decoded():
    pytest.importorskip("pi_heif")
    found = decode(base64.b64decode(HEIC))
    assert (found.outcome, found.facts.format, found.image.size) == ("ok", "HEIF", (48, 32))
    pixels = np.asarray(found.image).astype(int)
    assert pixels[4, 4, 0] > 150 > pixels[4, 4, 2]
    assert pixels[4, 44, 2] > 150 > pixels[4, 44, 0]
    assert pixels[28, 4].sum() < 0.7 * pixels[4, 4].sum()


def test_raw_files_are_developed_at_half_size():
    pytest.importorskip("rawpy")
    found = decode(dng())
    assert (found.outcome, found.facts.format, found.image.size) == ("ok", "camera raw", (48, 32))
    pixels = np.asarray(found.image).astype(int)
    assert pixels[10, 10, 0] > pixels[10, 10, 2]
    assert pixels[10, 10].sum() > 1.3 * pixels[10, 40].sum()
    assert decode(dng(), max_pixels=96 * 64 - 1).outcome == "too_large"
    assert decode(dng()[:6000]).outcome != "ok"

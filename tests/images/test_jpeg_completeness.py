"""JPEGs whose end is missing although they decode; and whole ones that look so."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from audit.images.decode import decode


def photo(width=320, height=240, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    fine = np.random.default_rng(seed + 1).integers(0, 40, (height, width, 3))
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return Image.fromarray(np.clip(smooth + fine - 20, 0, 255).astype(np.uint8))


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 85} | options)
    return out.getvalue()


def closed(data, share):
    """Cut a file and add an end mark, so that decoders are content."""
    return data[: int(len(data) * share)] + b"\xff\xd9"


def with_gray_end(image, rows, color=(128, 128, 128)):
    ImageDraw.Draw(image).rectangle((0, image.height - rows, image.width, image.height), fill=color)
    return image


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"optimize": True}, {"quality": 50}, {"restart_marker_rows": 1}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.4, 0.8])
@pytest.mark.parametrize("size", [(320, 240), (2400, 1800)])
def test_finds_half_jpegs(options, share, size):
    whole = jpeg(photo(*size), **options)
    assert decode(whole).outcome == "ok"
    half = decode(closed(whole, share))
    assert half.outcome == "truncated"
    assert "is not in the file" in half.error or "missing" in half.error
    assert half.image is None


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_finds_small_jpegs_without_their_last_units(share):
    whole = jpeg(photo(64, 64), quality=90)
    header = whole.index(b"\xff\xda") + 14
    found = decode(whole[: header + int((len(whole) - header) * share)] + b"\xff\xd9")
    assert found.outcome == "truncated"


def test_finds_gray_jpegs():
    gray = photo().convert("L")
    assert decode(jpeg(gray)).outcome == "ok"
    assert decode(closed(jpeg(gray), 0.5)).outcome == "truncated"


@pytest.mark.parametrize("rows", [8, 40, 120, 240])
@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"subsampling": 0}, {"quality": 100}, {"progressive": True}, {"restart_marker_blocks": 4}]
)
def test_whole_images_with_a_gray_end_are_not_flagged(rows, options):
    assert decode(jpeg(with_gray_end(photo(), rows), **options)).outcome == "ok"
    assert decode(jpeg(with_gray_end(photo(), rows).convert("L"), **options)).outcome == "ok"


@pytest.mark.parametrize("color", ["black", "white", (128, 128, 128)])
def test_flat_images_are_not_flagged(color):
    for options in ({}, {"optimize": True}, {"progressive": True}):
        assert decode(jpeg(Image.new("RGB", (400, 300), color), **options)).outcome == "ok"
        assert decode(jpeg(Image.new("L", (400, 300), 128), **options)).outcome == "ok"


def test_finds_zeros_in_the_middle():
    whole = bytearray(jpeg(photo()))
    whole[len(whole) // 2 : len(whole) // 2 + 2000] = bytes(2000)
    found = decode(bytes(whole))
    assert found.outcome == "truncated"
    assert "run of zero bytes" in found.error or "is not in the file" in found.error


def test_parser_never_raises():
    whole = jpeg(photo(64, 64), restart_marker_rows=1)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in random.integers(2, len(whole), 4):
            damaged[at] = random.integers(0, 256)
        assert decode(bytes(damaged)).outcome in ("ok", "truncated", "unreadable", "too_large")

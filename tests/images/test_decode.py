"""Decoding: every format becomes upright 8-bit RGB, or an outcome with its reason."""

import io
import threading
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from audit.images.decode import decode, eight_bits
from audit.tables import OUTCOMES


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_decodes_common_formats(kind):
    found = decode(encoded(photo(), kind))
    assert found.outcome == "ok"
    assert found.facts.format == kind
    assert (found.facts.width, found.facts.height) == (60, 40)
    assert found.image is not None
    assert found.image.mode == "RGB"
    difference = np.abs(np.asarray(found.image, np.int16) - np.asarray(photo(), np.int16)).mean()
    assert difference < 12


def test_cmyk_keeps_its_colors():
    red = Image.new("RGB", (8, 8), (220, 20, 30))
    found = decode(encoded(red.convert("CMYK"), "JPEG", quality=95))
    assert found.facts.mode == "CMYK"
    assert np.abs(np.asarray(found.image)[4, 4].astype(int) - [220, 20, 30]).max() < 12


def test_transparency_is_composited_on_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    found = decode(encoded(clear, "PNG"))
    assert found.facts.has_alpha
    assert (np.asarray(found.image) == 255).all()


def test_transparent_palette_color_is_composited_on_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    found = decode(encoded(image, "PNG", transparency=0))
    assert found.facts.has_alpha
    assert (np.asarray(found.image) == 255).all()


@pytest.mark.parametrize(("depth", "expected"), [(8, 255), (12, 255), (16, 255)])
def test_deep_gray_uses_the_depth_of_its_content(depth, expected):
    ramp = np.linspace(0, 2**depth - 1, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = decode(encoded(Image.fromarray(ramp), "PNG"))
    assert found.outcome == "ok"
    pixels = np.asarray(found.image)
    assert pixels.max() == expected
    assert abs(int(np.median(pixels)) - 127) <= 2


def test_dark_deep_image_stays_dark():
    faint = np.full((8, 8), 300, np.uint16)  # of 16-bit content whose frame peaks at 300: ten bits
    assert eight_bits(faint).max() == round(300 * 255 / 1023)


def test_float_images_are_scaled():
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert decode(encoded(Image.fromarray(ramp), "TIFF")).outcome == "ok"
    assert eight_bits(ramp).max() == 255
    assert eight_bits(np.array([[np.nan, -5.0], [5.0, 0.0]])).tolist() == [[128, 0], [255, 128]]


@pytest.mark.parametrize(
    ("kind", "channels", "mode"),
    [
        *((kind, channels, mode) for kind in (".png", ".tiff") for channels, mode in ((1, "I;16"), (3, "RGB;16"), (4, "RGBA;16"))),
        (".ppm", 3, "RGB;16"),
    ],
)
def test_mode_shows_16_bits_per_channel(kind, channels, mode):
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 9, channels), np.uint16)
    found = decode(cv2.imencode(kind, deep)[1].tobytes())
    assert (found.outcome, found.facts.mode) == ("ok", mode)
    shallow = decode(cv2.imencode(kind, (deep // 257).astype(np.uint8))[1].tobytes())
    assert ";16" not in str(shallow.facts.mode)


def test_tiff_with_corrupt_bit_depth():
    whole = cv2.imencode(".tiff", np.zeros((8, 9, 3), np.uint16))[1].tobytes()
    tag = whole.index(b"\x02\x01\x03\x00")  # BitsPerSample, short
    for value in range(256):
        assert decode(whole[: tag + 4] + bytes([value]) + whole[tag + 5 :]).outcome in OUTCOMES


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (250, 0, 0)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turned = Image.fromarray(upright)
    if orientation > 1:
        turned = turned.transpose(Image.Transpose({2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]))
    assert orientation in undo
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(turned, "PNG", exif=exif))
    assert found.facts.orientation == orientation
    assert (found.facts.width, found.facts.height) == (30, 20)
    assert np.array_equal(np.asarray(found.image), upright)


def test_decodes_first_frame_of_animation():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    found = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert found.facts.frames == 3
    assert np.asarray(found.image)[0, 0].tolist() == [255, 0, 0]


def test_metadata_families_are_reported_without_values():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 5"
    exif[0x013B] = "A. Person"
    exif.get_ifd(0x8769)[0xA431] = "SN-123456"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    found = decode(encoded(photo(), "JPEG", exif=exif))
    assert found.facts.exif_families == ("gps/exif", "owner/exif", "serial/exif")
    assert found.facts.origin.camera == "Maker Model 5"
    assert "123456" not in repr(found.facts)
    assert "Person" not in repr(found.facts)


def test_broken_files_have_a_reason():
    whole = encoded(photo(400, 300), "JPEG")
    assert decode(b"").outcome == "empty"
    assert decode(whole[: len(whole) // 2]).outcome == "truncated"
    assert decode(b"\0" * 5000).outcome == "unreadable"
    page = decode(b"<!DOCTYPE html><html>404")
    assert page.outcome == "unreadable"
    assert "HTML" in str(page.error)


def test_refuses_decompression_bomb_by_its_header():
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    found = decode(bomb, max_pixels=10_000_000)
    assert found.outcome == "too_large"
    assert "20000" in str(found.error)
    assert found.image is None
    small = encoded(Image.new("L", (30, 20)), "PNG")
    assert [decode(small, max_pixels=limit).outcome for limit in (599, 600)] == ["too_large", "ok"]


def test_large_jpeg_is_decoded_at_reduced_scale_and_keeps_its_recorded_size():
    found = decode(encoded(photo(4000, 2400), "JPEG"))
    assert (found.facts.width, found.facts.height) == (4000, 2400)
    assert found.image is not None
    assert min(found.image.size) >= 512
    assert max(found.image.size) < 4000


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_mutated_bytes_never_raise(kind, data):
    whole = bytearray(encoded(photo(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]), max_pixels=10_000_000)
    assert found.outcome in OUTCOMES
    assert (found.image is None) == (found.outcome != "ok")
    assert (found.error is None) == (found.outcome == "ok")


def test_concurrent_decodes_restore_pixel_limit_and_warning_filters(monkeypatch):
    """The second thread starts while the first opens its image, and opens its own afterwards; without a lock, each restores the other's setting."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    opened, filters = Image.open, list(warnings.filters)
    second_began, first_is_done = threading.Event(), threading.Event()

    def slow_open(file, **options):
        if threading.current_thread() is first:
            second.start()
            second_began.wait(0.5)
        else:
            second_began.set()
            first_is_done.wait(0.5)
        return opened(file, **options)

    outcomes = []
    first, second = (threading.Thread(target=lambda: outcomes.append(decode(encoded(photo(), "PNG")).outcome)) for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", slow_open)
        first.start()
        first.join()
        first_is_done.set()
        second.join()
    assert outcomes == ["ok", "ok"]
    assert Image.MAX_IMAGE_PIXELS == 100
    assert warnings.filters == filters

"""Decoding: every format becomes upright 8-bit RGB, or an outcome with its reason."""

import io
import struct
import sys
import threading
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

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


def glyph(color, at, ground=(0, 0, 0, 0)):
    pixels = np.full((64, 64, 4), ground, np.uint8)
    pixels[at : at + 20, 10:50] = (*color, 255)
    return Image.fromarray(pixels)


def test_transparency_is_part_of_the_image():
    one, other = (decode(encoded(glyph((255, 255, 255), at), "PNG")) for at in (10, 30))
    assert np.asarray(one.image).std() > 50, "white symbols are laid on black, else they would be invisible"
    assert not np.array_equal(one.stored, other.stored)
    dark = decode(encoded(glyph((10, 10, 10), 10), "PNG"))
    assert np.asarray(dark.image)[0, 0].tolist() == [255, 255, 255]
    hidden = decode(encoded(glyph((10, 10, 10), 10, (9, 9, 9, 0)), "PNG"))
    assert np.array_equal(hidden.stored, dark.stored), "colors below full transparency are not visible"
    opaque = decode(encoded(photo().convert("RGBA"), "PNG"))
    assert opaque.stored is None


def test_deep_values_far_from_zero_are_spread():
    gray = np.asarray(photo(64, 64).convert("L"))
    deep = (31768 + gray.astype(np.uint16) * 6).astype(np.uint16)
    found = decode(encoded(Image.fromarray(deep), "PNG"))
    assert np.abs(np.asarray(found.image.convert("L"), int) - (gray.astype(int) - gray.min()) * 255 // np.ptp(gray)).max() <= 2
    padded = deep.copy()
    padded[:8] = 0
    assert np.asarray(decode(encoded(Image.fromarray(padded), "PNG")).image)[9:].std() > 30
    window = {"I;16": (31768.0, 33298.0)}
    assert np.abs(np.asarray(decode(encoded(Image.fromarray(deep), "PNG"), ranges=window).image.convert("L"), int) - gray).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_deep_colors_use_the_depth_of_their_content(kind, orientation):
    rgb = np.asarray(photo(40, 24))
    data = cv2.imencode(kind, rgb[:, :, ::-1].astype(np.uint16) * 16)[1].tobytes()
    if orientation > 1:
        if kind == ".tiff":
            pytest.skip("OpenCV writes no orientation into TIFF")
        data = with_orientation(data, orientation)
    found = decode(data)
    assert found.facts.mode == "RGB;16"
    turned = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(turned, "PNG", exif=exif)))))
    assert found.image.size == expected.shape[1::-1]
    assert np.abs(np.asarray(found.image, int) - expected).max() <= 1


def with_orientation(data, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("bands", [2, 4, 5, 12])
def test_reads_multiband_tiff(bands):
    values = np.random.default_rng(0).integers(0, 4000, (16, 20, bands), np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="minisblack", planarconfig="contig")
    found = decode(out.getvalue())
    assert (found.outcome, found.facts.mode, found.image.size) == ("ok", f"{bands} bands;16", (20, 16))
    assert np.array_equal(found.stored, values)
    shown = values[..., :3] if bands > 2 else values[..., :1]
    assert np.abs(np.asarray(found.image, int) - shown.astype(int) * 255 / 4095).max() <= 1
    assert decode(out.getvalue(), max_pixels=100).outcome == "too_large"


def test_reads_dicom():
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    scan = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    gray = np.asarray(photo(32, 24).convert("L")).astype(np.uint16)
    scan.Rows, scan.Columns, scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 24, 32, 16, 12, 11, 0
    scan.SamplesPerPixel, scan.PhotometricInterpretation, scan.RescaleSlope, scan.RescaleIntercept = 1, "MONOCHROME2", 1, -1024
    scan.PixelData = (gray * 8).tobytes()
    out = io.BytesIO()
    scan.save_as(out, enforce_file_format=True)
    found = decode(out.getvalue())
    assert (found.outcome, found.facts.format, found.image.size) == ("ok", "DICOM", (32, 24))
    shown = np.asarray(found.image.convert("L"), int)
    assert np.abs(shown - (gray.astype(int) - gray.min()) * 255 / np.ptp(gray)).max() <= 2
    scan.PhotometricInterpretation = "MONOCHROME1"
    out = io.BytesIO()
    scan.save_as(out, enforce_file_format=True)
    assert np.abs(255 - np.asarray(decode(out.getvalue()).image.convert("L"), int) - shown).max() <= 1


def test_reads_jpeg_xl_with_a_plugin():
    pytest.importorskip("pillow_jxl")
    out = io.BytesIO()
    photo().save(out, "JXL", lossless=True)
    found = decode(out.getvalue())
    assert (found.outcome, found.image.size) == ("ok", (60, 40))


@pytest.mark.parametrize(("name", "module"), [("HEIC", "pi_heif"), ("DICOM", "pydicom"), ("JPEG XL", "pillow_jxl"), ("camera raw", "rawpy")])
def test_names_the_package_of_a_format(monkeypatch, name, module):
    data = {
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
        "DICOM": bytes(128) + b"DICM" + bytes(100),
        "JPEG XL": b"\xff\x0a" + bytes(range(1, 100)),
        "camera raw": b"FUJIFILMCCD-RAW " + bytes(100),
    }[name]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(Image, "ID", [known for known in Image.ID if known not in ("JXL", "HEIF")])
    found = decode(data)
    assert found.outcome == "unreadable"
    assert found.error.startswith(f"{name}, which needs the package {module}: pip install")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<!DOCTYPE html><html>404", "an HTML page; download it again"),
        (b"\xef\xbb\xbf\n<html>", "an HTML page; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer; run git lfs pull (in CI: lfs: true)"),
        (b"/annex/objects/SHA256E-s20--ab.jpg\n", "a git-annex pointer; run git annex get"),
        (b"../../.git/annex/objects/x", "a git-annex pointer; run git annex get"),
        (b'{"error": "not found"}', "JSON; download it again"),
        (b"<?xml version='1.0'?><Error/>", "XML; download it again"),
        (b"<svg xmlns='x'/>", "SVG, which is not a raster image; render it to PNG"),
        (b"/9j/4AAQSkZJRgABAQ", "an image as base64 text; decode the text to bytes"),
        (b"Not Found", "text; download it again"),
        ("nicht gefunden: \u00e4".encode(), "text; download it again"),
        (b"%PDF-1.7", "a PDF document; export its images"),
        (b"PK\x03\x04", "an archive; extract it"),
        (bytes(50), "only zero bytes at its start, as left by an interrupted copy; copy it again"),
    ],
)
def test_says_what_a_file_is_instead_of_an_image(data, expected):
    assert (decode(data).outcome, decode(data).error) == ("unreadable", f"not an image: contains {expected}")


def test_random_bytes_are_not_named():
    assert decode(np.random.default_rng(0).bytes(500)).error == "not an image in any known format"


def icon(*colors):
    """Return a transparent image with a bar of each color."""
    image = np.zeros((40, 20 * len(colors), 4), np.uint8)
    for number, color in enumerate(colors):
        image[10:30, 20 * number + 4 : 20 * number + 16] = (*color, 255)
    return decode(encoded(Image.fromarray(image), "PNG"))


@pytest.mark.parametrize(
    ("colors", "ground"),
    [
        ([(200, 30, 30)], 255),
        ([(255, 255, 255)], 0),
        ([(200, 30, 30), (255, 255, 255)], 0),
        ([(0, 0, 0), (255, 255, 255)], 128),
        ([(0, 0, 0)], 255),
        ([(128, 128, 128), (0, 0, 0)], 255),
    ],
)
def test_transparency_is_laid_where_most_shows(colors, ground):
    found = np.asarray(icon(*colors).image).astype(int)
    assert (found[0, 0] == ground).all()
    for number, color in enumerate(colors):
        assert (found[20, 20 * number + 10] == color).all()
        assert np.abs(found[20, 20 * number + 10] - found[0, 0]).mean() >= 16

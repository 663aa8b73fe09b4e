"""Data after the end of an image, and what cameras append."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

import audit
from audit import ScanOptions
from audit.images.decode import decode


def encoded(kind, seed=0, **options):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("payload.txt", "words " * 40)
    return stream.getvalue()


FORMATS = ["JPEG", "PNG", "GIF", "WEBP"]


@pytest.mark.parametrize("kind", FORMATS)
def test_finds_what_follows_an_image(kind):
    whole = encoded(kind)
    assert decode(whole).facts.appended is None
    zipped = decode(whole + archive())
    assert zipped.outcome == "ok"
    assert zipped.facts.appended == f"{len(archive()):,} bytes: an archive"
    assert decode(whole + b"<?php echo 1; ?>").facts.appended == "16 bytes: text"
    assert decode(whole + encoded("PNG", 1)).facts.appended.endswith(": another image (PNG)")
    assert decode(whole + b"\x01\x99\x02\x98").facts.appended == "4 bytes: unknown data"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("padding", [b"\0" * 300, b"\r\n", b"\xff\xff"])
def test_padding_is_not_noted(kind, padding):
    assert decode(encoded(kind) + padding).facts.appended is None


def test_what_cameras_append_is_not_noted():
    stream = io.BytesIO()
    first, second = (Image.open(io.BytesIO(encoded("JPEG", seed))) for seed in (0, 1))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    assert decode(stream.getvalue()).facts.appended is None
    assert decode(encoded("JPEG") + b"\0\0\x30\x0aImage_UTC_Data1600000000000\x1c\0\0\0SEFT").facts.appended is None
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"maker"
    assert decode(encoded("JPEG", exif=exif) + encoded("JPEG", 1)).facts.appended is None
    assert decode(encoded("JPEG") + encoded("JPEG", 1)).facts.appended.endswith(": another image (JPEG)")


def test_a_thumbnail_in_the_header_is_not_the_end():
    exif = encoded("JPEG")[2:]
    marked = b"\xff\xd8\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + encoded("JPEG")[2:]
    assert decode(marked).facts.appended is None


def test_the_scan_names_the_file(tmp_path):
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    (folder / "plain.jpg").write_bytes(encoded("JPEG"))
    (folder / "zipped.jpg").write_bytes(encoded("JPEG", 1) + archive())
    run = audit.scan(tmp_path / "data", tmp_path / "run", options=ScanOptions(backbone="embedded", device="cpu", only=("integrity",)))
    (found,) = run.findings[run.findings["kind"] == "appended_data"].to_dict("records")
    assert (found["sample_id"], found["severity"]) == ("cat/zipped.jpg", "info")
    assert "an archive" in found["message"]

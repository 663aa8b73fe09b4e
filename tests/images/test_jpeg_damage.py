"""JPEGs that decode to garbled or discolored bands; and whole ones with bands, edges and steps of their own."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from audit.images.decode import decode
from audit.images.jpeg_stream import parse_jpeg


def photo(width=320, height=240, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    fine = np.random.default_rng(seed + 1).integers(0, 30, (height, width, 3))
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return Image.fromarray(np.clip(smooth + fine - 15, 0, 255).astype(np.uint8))


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 85} | options)
    return out.getvalue()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def garbled(data, seed, share=0.03):
    """Overwrite eight bytes of the coded data until much of the image differs, although it decodes."""
    start, end, _, _ = max(parse_jpeg(data).scans, key=lambda scan: scan[1] - scan[0])
    random = np.random.default_rng(seed)
    for _ in range(50):
        damaged = bytearray(data)
        at = int(random.integers(start + (end - start) // 8, end - (end - start) // 3))
        damaged[at : at + 8] = bytes(random.integers(0, 255, 8).astype(np.uint8))
        if (np.abs(pixels(bytes(damaged)) - pixels(data)).max(axis=2) > 16).mean() > share:
            return bytes(damaged)
    raise AssertionError("no damage shows")


OPTIONS = [{}, {"subsampling": 0}, {"optimize": True}, {"quality": 50}, {"restart_marker_rows": 2}]


@pytest.mark.parametrize("options", OPTIONS)
def test_most_garbled_jpegs_are_found(options):
    found = []
    for seed in range(12):
        whole = jpeg(photo(seed=seed), **options)
        assert decode(whole).outcome == "ok"
        broken = decode(garbled(whole, seed))
        found.append(broken.outcome != "ok")
        if found[-1]:
            assert broken.image is None
            assert "damaged" in broken.error or "is not in the file" in broken.error or "missing" in broken.error
    assert sum(found) >= 8


@pytest.mark.parametrize("size", [(320, 240), (2400, 1800)])
@pytest.mark.parametrize("channel", ["luma", "color"])
def test_finds_a_band_of_valid_blocks_that_are_too_light(size, channel):
    """All coded data are valid: only the mean of the blocks is wrong from one on, which is how a flipped bit of a difference shows."""
    image = np.asarray(photo(*size).convert("YCbCr")).copy()
    columns, row, column, of = -(-size[0] // 16), 7, 5, 0 if channel == "luma" else 2
    order = np.arange(-(-size[1] // 16))[:, None] * columns + np.arange(columns)
    later = np.kron(order >= row * columns + column, np.ones((16, 16), bool))[: size[1], : size[0]]
    image[..., of] = np.clip(image[..., of].astype(int) // 2 + 50 + 24 * later, 0, 255)
    found = decode(jpeg(Image.fromarray(image, "YCbCr")))
    assert found.outcome == "unreadable"
    assert "all blocks differ by" in found.error


def test_message_of_the_finding_names_the_damage():
    assert "decoders show a garbled image" in decode(jpeg(photo())[:-40] + b"\x12\x34" * 60 + b"\xff\xd9").error


@pytest.mark.parametrize("color", [(128, 128, 128), "white", "black", (200, 30, 30)])
@pytest.mark.parametrize("box", [(0, 96, 320, 240), (0, 96, 320, 112), (80, 0, 320, 96), (80, 96, 320, 240), (80, 96, 320, 112), (0, 0, 80, 240)])
def test_images_with_bands_and_boxes_on_block_edges_are_not_flagged(color, box):
    for options in OPTIONS:
        image = photo()
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=color)
        assert decode(jpeg(image, **options)).outcome == "ok"
        assert decode(jpeg(image.convert("L"), **options)).outcome == "ok"


@pytest.mark.parametrize("step", [16, 32])
def test_stairs_and_diagonals_are_not_flagged(step):
    image = Image.new("RGB", (320, 240), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for number in range(10):
        draw.rectangle((number * step, 240 - number * step // 2, 320, 240), fill=(90 + 12 * number,) * 3)
    assert decode(jpeg(image)).outcome == "ok"
    ImageDraw.Draw(image).polygon([(0, 200), (320, 60), (320, 240), (0, 240)], fill="white")
    assert decode(jpeg(image)).outcome == "ok"


@pytest.mark.parametrize("padding", [b"\0" * 40, b"\xff" * 20, b"\r\n"])
def test_padding_before_the_end_mark_is_not_damage(padding):
    assert decode(jpeg(photo())[:-2] + padding + b"\xff\xd9").outcome == "ok"

"""Measures: their definitions, ranges and invariances."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import data

from audit.images.measures import orientation_free_hashes, perceptual_hash, pixel_id, quality, thumbnail

RANGES = {"brightness": 1, "luma_p01": 1, "luma_p99": 1, "contrast": 0.5, "sharpness": 7, "entropy": 8, "chroma": 1}


def scene(height: int = 300, width: int = 400, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST))


def hamming(a: int, b: int) -> int:
    return (a ^ b).bit_count()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70), st.just(3))))
def test_quality_stays_in_its_ranges(pixels):
    found = quality(pixels)
    assert set(found) == set(RANGES)
    for name, value in found.items():
        assert 0 <= value <= RANGES[name] + 1e-9, name


@pytest.mark.parametrize(("value", "brightness"), [(0, 0.0), (255, 1.0), (51, 0.2)])
def test_flat_image_has_zero_entropy(value, brightness):
    found = quality(np.full((40, 50, 3), value, np.uint8))
    assert found["brightness"] == pytest.approx(brightness)
    assert found["entropy"] == found["contrast"] == found["sharpness"] == found["chroma"] == 0


def test_half_black_half_white_has_one_bit_of_entropy():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    found = quality(pixels)
    assert found["entropy"] == pytest.approx(1)
    assert found["contrast"] == pytest.approx(0.5)


def test_blur_lowers_sharpness_at_every_size():
    for height, width in [(64, 64), (300, 400), (1200, 1600)]:
        sharp = scene(height, width)
        blurred = cv2.GaussianBlur(sharp, (0, 0), min(height, width) / 60)
        assert quality(blurred)["sharpness"] < quality(sharp)["sharpness"] - 0.3


def test_sharpness_does_not_depend_on_the_number_of_pixels():
    large = scene(1024, 1024)
    small = np.asarray(cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA))
    assert quality(large)["sharpness"] == pytest.approx(quality(small)["sharpness"], abs=0.1)


def test_gray_images_have_no_chroma():
    gray = np.repeat(scene()[..., :1], 3, axis=2)
    assert quality(gray)["chroma"] == 0
    assert quality(scene())["chroma"] > 0.3


def test_pixel_id_depends_on_shape_and_pixels():
    pixels = scene(30, 40)
    assert pixel_id(pixels) == pixel_id(pixels.copy())
    assert pixel_id(pixels) != pixel_id(pixels.reshape(40, 30, 3))
    changed = pixels.copy()
    changed[3, 3, 0] ^= 1
    assert pixel_id(pixels) != pixel_id(changed)


def test_perceptual_hash_survives_resizing_and_separates_images():
    first, other = scene(seed=1), scene(seed=2)
    smaller = np.asarray(cv2.resize(first, (120, 90), interpolation=cv2.INTER_AREA))
    assert hamming(perceptual_hash(thumbnail(first)), perceptual_hash(thumbnail(smaller))) <= 4
    assert hamming(perceptual_hash(thumbnail(first)), perceptual_hash(thumbnail(other))) > 16
    assert 0 <= perceptual_hash(thumbnail(first)) < 2**64


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 2, 3), (32, 32, 3)])
def test_odd_shapes_are_measured(shape):
    pixels = np.full(shape, 7, np.uint8)
    assert thumbnail(pixels).shape == (32, 32, 3)
    assert quality(pixels)["brightness"] == pytest.approx(7 / 255)


@pytest.mark.parametrize("turn", [*range(4)])
@pytest.mark.parametrize("mirror", [False, True])
def test_orientation_free_hashes_are_equal_in_all_orientations(turn, mirror):
    smalls = np.stack([thumbnail(image) for image in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())])
    turned = np.rot90(smalls, turn, axes=(1, 2))
    turned = turned[:, :, ::-1] if mirror else turned
    apart = np.bitwise_count(orientation_free_hashes(smalls) ^ orientation_free_hashes(np.ascontiguousarray(turned)))
    assert apart.max() <= 1

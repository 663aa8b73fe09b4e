"""Differences of two copies are drawn at the alignment of the verified pair."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from dashboard.api.overlay import WIDTH, Place, overlay, place_of

EDGE_TO_EDGE = Place()


def file_of(pixels):
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def drawn(first, second, place=EDGE_TO_EDGE):
    image, covered = overlay(file_of(first), file_of(second), place)
    return np.asarray(Image.open(io.BytesIO(image)), np.int16), covered


def striped(image):
    return image[..., 2] > image[..., 0]


def pairs_of(*rows):
    return pd.DataFrame([{"i": i, "j": j, "relation": relation, "evidence": json.dumps(evidence)} for i, j, relation, evidence in rows])


MIRRORED_CROP = {"transform": [1.25, 0, -0.125, 0, 1.25, -0.125], "mirrored": True}
"""The second image is the mirrored center of the first, with a tenth cropped on each side."""


def test_overlays_mirrored_crop_and_stripes_the_rest():
    image = data.astronaut()[:300, 100:400]
    crop = image[30:270, 30:270].copy()
    crop[100:140, 150:200] = 255
    found, covered = drawn(image, crop[:, ::-1], place_of(pairs_of((0, 1, "edited_copy", MIRRORED_CROP)), 0, 1))
    inside = np.zeros((300, 300), bool)
    inside[30:270, 30:270] = True
    patch = np.zeros((300, 300), bool)
    patch[130:170, 180:230] = True
    assert covered == pytest.approx(0.64, abs=0.01)
    assert (striped(found) == ~inside).mean() > 0.99
    assert found[patch].mean() > 100
    assert found[inside & ~patch].mean() < 3


def test_alignment_works_from_the_second_image_too():
    image = data.astronaut()[:300, 100:400]
    crop = image[30:270, 30:270]
    place = place_of(pairs_of((4, 7, "edited_copy", MIRRORED_CROP)), 7, 4)
    found, covered = drawn(crop[:, ::-1], image, place)
    assert covered == 1
    assert found.mean() < 3


def test_equal_images_are_black_and_opposite_ones_white():
    red, blue = np.full((10, 20, 3), (255, 0, 0), np.uint8), np.full((10, 20, 3), (0, 0, 255), np.uint8)
    same, covered = drawn(red, red)
    assert same.max() == 0
    assert covered == 1
    assert drawn(red, blue)[0].min() == 255


def test_compares_at_the_displayed_size():
    large = np.asarray(Image.fromarray(data.astronaut()).resize((900, 900)))
    found, _ = drawn(large, data.astronaut()[::2, ::2])
    assert found.shape == (WIDTH, WIDTH, 3)


def test_identical_copies_share_the_alignment():
    pairs = pairs_of((0, 3, "identical_bytes", {}), (0, 5, "edited_copy", MIRRORED_CROP), (5, 8, "identical_pixels", {}))
    wanted = place_of(pairs, 0, 5)
    assert wanted == Place(tuple(MIRRORED_CROP["transform"]), mirrored=True)
    assert place_of(pairs, 3, 8) == wanted
    assert place_of(pairs, 0, 3) == place_of(pairs, 5, 8) == EDGE_TO_EDGE


@pytest.mark.parametrize(
    "evidence", [{}, [], {"transform": [1, 0, 0]}, {"transform": [0] * 6}, {"transform": [float("nan")] * 6}, {"transform": "x"}]
)
def test_invalid_alignment_falls_back_to_edge_to_edge(evidence):
    assert place_of(pairs_of((0, 1, "edited_copy", evidence)), 1, 0) == EDGE_TO_EDGE

"""Screening: features of a copy agree in any orientation, those of another image do not."""

import cv2
import numpy as np
import pytest
from skimage import data

from audit.images.local_features import features
from audit.pairs.screening import FARTHEST, votes

EDITS = {
    "turned": np.rot90,
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, turned": lambda image: np.rot90(image[:, ::-1], 3),
    "25 degrees": lambda image: cv2.warpAffine(image, cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), 25, 1), image.shape[1::-1]),
    "corner": lambda image: image[: int(image.shape[0] * 0.58), : int(image.shape[1] * 0.58)],
    "small": lambda image: cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
}


def counted(*images):
    stored = np.stack([features(np.ascontiguousarray(image)) for image in images])
    widths = np.array([255 * image.shape[1] / max(image.shape[:2]) for image in images], np.float32)
    one = np.zeros(len(images) - 1, np.int64)
    return votes(stored, widths, np.full(stored.shape[:2], FARTHEST, np.uint8), one, np.arange(1, len(images)))


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_copies_agree_in_any_orientation(edit):
    for image in (data.astronaut(), data.chelsea(), data.coffee()):
        found = counted(image, EDITS[edit](image))
        assert found.count[0] > 3
        assert found.mirrored[0] == (edit in ("mirrored", "mirrored, turned", "upside down"))


def test_different_images_do_not_agree():
    found = counted(data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), np.zeros((60, 60, 3), np.uint8))
    assert found.count.max() < 1.5
    assert found.count[-1] == 0


def test_no_pairs():
    none = np.zeros(0, np.int64)
    assert len(votes(np.zeros((1, 64, 20), np.uint8), np.ones(1, np.float32), np.ones((1, 64), np.uint8), none, none).count) == 0

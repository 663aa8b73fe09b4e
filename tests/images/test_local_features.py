"""Local features: small images and flat ones have none, and a mirrored image has mirrored ones."""

import numpy as np
import pytest
from skimage import data

from audit.images.local_features import LEAST_SIDE, MIRROR_BITS, features, local_features
from audit.tables import FEATURE_BYTES, FEATURES


@pytest.mark.parametrize("image", [data.astronaut()[: LEAST_SIDE - 1, : LEAST_SIDE - 1], np.full((80, 90, 3), 128, np.uint8)])
def test_small_and_flat_images_have_no_features(image):
    found = features(np.ascontiguousarray(image))
    assert found.shape == (FEATURES, FEATURE_BYTES)
    assert not found.any()


def test_features_cover_the_image_and_some_survive_a_reduction():
    found = features(data.chelsea())
    assert (found[:, 19] > 0).all()
    assert len(np.unique(found[:, 16:18] // 64, axis=0)) >= 10
    assert (found[:, 19] >= 16 * np.log2(6.5)).sum() >= 28


def test_a_mirror_inverts_half_of_the_bits():
    image = data.coffee()
    original, mirrored = local_features(image), local_features(np.ascontiguousarray(image[:, ::-1])).mirrored()
    best = (original.descriptors @ mirrored.descriptors.T).max(axis=1)
    assert np.median(best) > 0.99
    codes, turned = (np.ascontiguousarray(features(side)[:, :16]) for side in (image, np.ascontiguousarray(image[:, ::-1])))
    apart = np.bitwise_count(codes[:, None] ^ (turned ^ MIRROR_BITS)[None]).sum(axis=2).min(axis=1)
    assert np.median(apart) <= 6

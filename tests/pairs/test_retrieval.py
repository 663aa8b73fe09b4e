"""Retrieval: images that share local features are proposed, in any orientation and among many others."""

import cv2
import numpy as np
import pytest
from skimage import data

from audit.images.local_features import features
from audit.pairs import retrieval
from audit.pairs.retrieval import shared_features
from audit.pairs.screening import FARTHEST
from audit.tables import FEATURE_BYTES, FEATURES


def inset(image, ground):
    """Put an image, at 40% of the sides, into another one."""
    whole = cv2.resize(ground, (600, 450), interpolation=cv2.INTER_AREA)
    whole[150:330, 100:340] = cv2.resize(image, (240, 180), interpolation=cv2.INTER_AREA)
    return whole


ORIGINALS = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.immunohistochemistry(), data.retina()]
GROUND = cv2.GaussianBlur(data.retina()[::-1].copy(), (0, 0), 8)
COPIES = {
    "inset": inset(data.coffee(), GROUND),
    "mirrored inset": inset(np.ascontiguousarray(data.coffee()[:, ::-1]), GROUND),
    "corner": np.ascontiguousarray(data.coffee()[:230, :340]),
    "turned": np.ascontiguousarray(np.rot90(data.coffee())),
}


def stored(images):
    return np.stack([features(np.ascontiguousarray(image)) for image in images])


def pairs(found):
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize("name", sorted(COPIES))
@pytest.mark.parametrize("exact", [True, False])
def test_proposes_the_images_that_share_features(name, exact, monkeypatch):
    monkeypatch.setattr(retrieval, "_EXACT_UP_TO", 10**6 if exact else 0)
    monkeypatch.setattr(retrieval, "_PROPOSED", 1)
    monkeypatch.setattr(retrieval, "_BLOCK", 3)
    table = stored([*ORIGINALS, COPIES[name]])
    found = shared_features(table, np.arange(len(table)))
    assert (2, len(ORIGINALS)) in pairs(found)
    assert (found.first < found.second).all()


def test_the_order_of_the_rows_does_not_matter(monkeypatch):
    monkeypatch.setattr(retrieval, "_EXACT_UP_TO", 0)
    table = stored([*ORIGINALS, *COPIES.values()])
    order = np.random.default_rng(0).permutation(len(table))
    found, moved = (shared_features(part, np.arange(len(table))) for part in (table, table[order]))
    assert {tuple(sorted((order[one], order[other]))) for one, other in pairs(moved)} == pairs(found)
    np.testing.assert_array_equal(moved.limits, found.limits[order])
    np.testing.assert_allclose(moved.usual, found.usual[order], rtol=1e-6)


def test_spots_that_many_images_have_count_less():
    """Of forty images with one common half, its spots are not distinctive; those of the other half are."""
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (40, 16, 24, 3), np.uint8)
    blocks[:, :, :12] = blocks[:1, :, :12]
    table = stored([cv2.resize(image, (900, 600), interpolation=cv2.INTER_CUBIC) for image in blocks])
    found = shared_features(table, np.arange(40))
    there = table[:, :, 19] > 0
    assert np.median(found.limits[there & (table[:, :, 16] < 115)]) < FARTHEST / 2
    assert np.median(found.limits[there & (table[:, :, 16] > 140)]) == FARTHEST


def test_images_that_are_left_out_or_have_no_features():
    table = np.concatenate([stored(ORIGINALS[:2]), stored(ORIGINALS[:2]), np.zeros((1, FEATURES, FEATURE_BYTES), np.uint8)])
    assert (0, 2) in pairs(shared_features(table, np.arange(5)))
    assert all({0, 2} & {*pair} == set() for pair in pairs(shared_features(table, np.array([1, 3, 4]))))
    empty = shared_features(table[4:], np.arange(1))
    assert len(empty.first) == 0
    assert list(empty.blocks()) == []
    assert len(shared_features(table[:0], np.arange(0)).first) == 0

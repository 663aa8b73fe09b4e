"""The difference map shows what was changed, at the aligned position."""

import numpy as np
from skimage import data

from audit.images.measures import thumbnail
from audit.pairs.difference import aligned, difference_map
from audit.pairs.verification import promising, verify


def evidence_of(first, second):
    smalls = np.stack([thumbnail(first), thumbnail(second)])
    one, other = np.array([0]), np.array([1])
    found = verify(smalls, one, other, promising(smalls, one, other)[1])
    return {"mirrored": bool(found.mirrored[0]), "transform": found.transform[0].ravel().tolist()}


def test_aligns_a_mirrored_crop_and_shows_an_overlay():
    image = data.astronaut()[:256, 100:356]
    changed = image[16:240, 20:244].copy()
    changed[100:130, 60:120] = 255
    evidence = evidence_of(image, np.ascontiguousarray(changed[:, ::-1]))
    assert evidence["mirrored"]
    difference = difference_map(image, np.ascontiguousarray(changed[:, ::-1]), transform=evidence["transform"], mirrored=True)
    inside = np.zeros(image.shape[:2], bool)
    inside[116:146, 80:140] = True
    assert np.isnan(difference[:10]).all()
    assert np.nanmean(difference[inside]) > 4 * np.nanmean(difference[~inside])


def test_resized_copy_has_no_difference():
    image = data.chelsea()
    half = image[::2, ::2]
    other, covered = aligned(image, half, transform=[1, 0, 0, 0, 1, 0], mirrored=False)
    assert other.shape == image.shape
    assert covered.all()
    assert np.nanmean(difference_map(image, half, transform=[1, 0, 0, 0, 1, 0], mirrored=False)) < 0.03


def test_detail_lost_by_downsizing_is_not_a_difference():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    small = noise.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    plain = difference_map(small, noise, transform=[1, 0, 0, 0, 1, 0], mirrored=False)
    mirrored = difference_map(small, noise[:, ::-1], transform=[1, 0, 0, 0, 1, 0], mirrored=True)
    assert max(plain.max(), mirrored.max()) < 0.01

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checks.crop_loss import lost_detail
from audit.errors import ConfigError

SIDE = 32


def checkered(where):
    """A gray thumbnail with detail in one part."""
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    image[where] = (np.indices((SIDE, SIDE)).sum(axis=0) // 2 % 2 * 255)[where][..., None]
    return image


CENTER, LEFT = (slice(12, 20), slice(12, 20)), (slice(0, 32), slice(0, 4))


def lost(image, width, height, crop=0.875):
    return float(lost_detail(image[None], np.array([width], float), np.array([height], float), crop)[0])


def test_keeps_detail_in_middle_and_loses_it_at_border():
    assert lost(checkered(CENTER), 256, 256) == 0
    assert lost(checkered(CENTER), 512, 256) == pytest.approx(0, abs=1e-6)
    assert lost(checkered(LEFT), 512, 256) > 0.99
    assert lost(checkered(LEFT), 256, 256) < 0.7
    assert lost(checkered(LEFT), 256, 256, crop=1.0) == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 1000), st.floats(0.3, 3), st.floats(0.2, 1))
def test_even_detail_is_lost_like_area(seed, aspect, crop):
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    kept = crop**2 * min(aspect, 1 / aspect)
    assert lost(noise, 1000 * aspect, 1000, crop) == pytest.approx(1 - kept, abs=0.12)


def test_rotated_image_loses_the_same():
    noise = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert lost(noise, 640, 400) == pytest.approx(lost(np.swapaxes(noise, 0, 1), 400, 640), abs=1e-6)


def test_unknown_size_has_no_score():
    assert np.isnan(lost(checkered(CENTER), np.nan, 256))
    assert np.isnan(lost(np.zeros((SIDE, SIDE, 3), np.uint8), 256, 256))


def test_flat_image_has_no_score():
    flat = np.full((SIDE, SIDE, 3), 200, np.uint8)
    flat[:, 0] = 201  # rounding
    assert np.isnan(lost(flat, 800, 400))
    dithered = flat + np.random.default_rng(0).integers(0, 2, (SIDE, SIDE, 1), np.uint8)
    assert np.isnan(lost(dithered, 800, 400))
    faint = flat.copy()
    faint[14:18, 1:5] += 20  # a small object of a tenth of the range
    assert lost(faint, 800, 400) > 0.9


@pytest.fixture
def found(run_named, samples_of):
    def run(images, options=None, **more):
        thumbnails = np.stack([image for image, _, _, _ in images])
        rows = [{"width": width, "height": height, "label": label, **more} for _, width, height, label in images]
        return run_named("crop_loss", options, samples=samples_of(rows), thumbnails=thumbnails, class_words={})

    return run


def test_reports_image_and_dataset(found):
    images = [(checkered(CENTER), 500, 400, "cat")] * 40 + [(checkered(LEFT), 800, 400, "cat")]
    image, dataset = found(images).findings
    assert (image.row, image.kind, image.evidence["aspect"]) == (40, "cropped", 2.0)
    assert image.score > 0.99
    assert image.evidence["deviations"] == pytest.approx((image.evidence["lost"] - image.evidence["usual"]) / 0.05)
    assert (dataset.kind, dataset.evidence["much_lost"], dataset.evidence["images"]) == ("dataset_crop", 1, 41)


def test_reports_class_of_panoramas(found):
    images = [(checkered(CENTER), 500, 400, "cat")] * 60 + [(checkered(LEFT), 800, 400, "train")] * 20
    about_many = [finding for finding in found(images).findings if finding.row is None]
    assert about_many[0].evidence["deviations"] > 3
    assert [(finding.kind, finding.label) for finding in about_many] == [("class_crop", "train"), ("dataset_crop", None)]


def test_ignores_uniform_and_tiny_datasets(found):
    assert not found([(checkered(CENTER), 500, 400, "cat")] * 40).findings
    tiny = found([(checkered(LEFT), 800, 400, "cat")] * 5)
    assert not tiny.findings
    assert (tiny.scores > 0.9).all()


def test_refuses_options_out_of_range(found):
    with pytest.raises(ConfigError, match="crop: 2 is not above 0 and at most 1"):
        found([(checkered(CENTER), 500, 400, "cat")], options={"crop": 2})

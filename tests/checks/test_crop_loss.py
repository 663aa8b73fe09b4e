import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checks.crop_loss import lost_subject
from audit.errors import ConfigError

SIDE = 32


def subject(where):
    """A gray thumbnail with something red in one part."""
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    image[where] = (220, 30, 30)
    return image


CENTER, LEFT = (slice(12, 20), slice(12, 20)), (slice(6, 26), slice(3, 9))


def lost(image, width, height, crop=0.875):
    return float(lost_subject(image[None], np.array([width], float), np.array([height], float), crop)[0])


def test_keeps_a_subject_in_the_middle_and_loses_it_at_the_border():
    assert lost(subject(CENTER), 256, 256) == pytest.approx(0, abs=1e-6)
    assert lost(subject(CENTER), 512, 256) == pytest.approx(0, abs=1e-6)
    assert lost(subject(LEFT), 512, 256) > 0.99
    assert lost(subject(LEFT), 256, 256) == pytest.approx(0, abs=1e-6)
    assert lost(subject(LEFT), 512, 256, crop=0.5) > 0.99


def test_a_border_a_caption_and_a_busy_background_are_not_the_subject():
    bordered = np.zeros((SIDE, SIDE, 3), np.uint8)
    bordered[2:30, 2:30] = 128
    bordered[CENTER] = (220, 30, 30)
    assert lost(bordered, 400, 300) < 0.35
    captioned = subject(CENTER)
    captioned[29:, 4:28] = 0
    assert not lost(captioned, 300, 400) >= 0.35
    busy = np.where(np.indices((SIDE, SIDE)).sum(axis=0)[..., None] // 2 % 2, 60, 190) * np.ones(3)
    busy = busy.astype(np.uint8)
    busy[10:22, 10:22] = (250, 120, 0)
    assert lost(busy, 600, 300) < 0.35


@given(st.floats(0.55, 1.8), st.floats(0.5, 1))
def test_what_fills_the_image_is_lost_like_area(aspect, crop):
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    image[2:30, 2:30] = (220, 30, 30)
    kept = crop**2 * min(aspect, 1 / aspect)
    assert lost(image, 1000 * aspect, 1000, crop) <= 1 - kept + 1e-6


def test_rotated_image_loses_the_same():
    noise = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    noise[8:24, 4:28] = (255, 0, 0)
    assert lost(noise, 640, 400) == pytest.approx(lost(np.swapaxes(noise, 0, 1), 400, 640), abs=1e-6)


def test_where_nothing_stands_out_only_a_panorama_has_a_score():
    flat = np.full((SIDE, SIDE, 3), 200, np.uint8)
    flat[:, 0] = 201  # rounding
    assert np.isnan(lost(flat, 500, 400))
    assert lost(flat, 2000, 400) == pytest.approx(1 - 0.875**2 / 5)
    assert np.isnan(lost(subject(CENTER), np.nan, 256))


@pytest.fixture
def found(run_named, samples_of):
    def run(images, options=None, **more):
        thumbnails = np.stack([image for image, _, _, _ in images])
        rows = [{"width": width, "height": height, "label": label, **more} for _, width, height, label in images]
        return run_named("crop_loss", options, samples=samples_of(rows), thumbnails=thumbnails, class_words={})

    return run


def test_reports_image_and_dataset(found):
    images = [(subject(CENTER), 500, 400, "cat")] * 40 + [(subject(LEFT), 800, 400, "cat")]
    (image,) = found(images).findings
    assert (image.row, image.kind, image.evidence["aspect"]) == (40, "cropped", 2.0)
    assert image.score > 0.99
    assert image.evidence["deviations"] == pytest.approx((image.evidence["lost"] - image.evidence["usual"]) / 0.05)
    *_, dataset = found(images + images[-1:] * 2).findings
    assert (dataset.kind, dataset.evidence["much_lost"], dataset.evidence["images"]) == ("dataset_crop", 3, 43)


def test_reports_class_of_panoramas(found):
    images = [(subject(CENTER), 500, 400, "cat")] * 60 + [(subject(LEFT), 800, 400, "train")] * 20
    about_many = [finding for finding in found(images).findings if finding.row is None]
    assert about_many[0].evidence["deviations"] > 3
    assert [(finding.kind, finding.label) for finding in about_many] == [("class_crop", "train"), ("dataset_crop", None)]


def test_ignores_uniform_and_tiny_datasets(found):
    assert not found([(subject(CENTER), 500, 400, "cat")] * 40).findings
    tiny = found([(subject(LEFT), 800, 400, "cat")] * 5)
    assert not tiny.findings
    assert (tiny.scores > 0.9).all()


def test_refuses_options_out_of_range(found):
    with pytest.raises(ConfigError, match="crop: 2 is not above 0 and at most 1"):
        found([(subject(CENTER), 500, 400, "cat")], options={"crop": 2})

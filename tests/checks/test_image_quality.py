import numpy as np
import pytest

from audit.checks.image_quality import Options, coarse_detail, fine_detail, run


def detailed(n, seed=0):
    """Return thumbnails of noise."""
    return np.random.default_rng(seed).integers(60, 200, (n, 32, 32, 3)).astype(np.uint8)


def plain(n):
    """Return thumbnails with hardly any detail, as of a hand before a wall."""
    return np.full((n, 32, 32, 3), 120, np.uint8) + np.arange(32, dtype=np.uint8)[None, :, None, None] // 8


@pytest.fixture
def judged(run_named):
    """Run the check on samples that all have coarse detail."""
    return lambda samples, options=None: run_named("image_quality", options, samples=samples, thumbnails=detailed(len(samples)))


def usual(n, seed=0, **changes):
    rng = np.random.default_rng(seed)
    return [
        {"sharpness": float(rng.uniform(2.7, 3.7)), "luma_p99": float(rng.uniform(0.8, 1)), "luma_p01": float(rng.uniform(0, 0.15)), **changes}
        for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"sharpness": 0.6}, "blurred"),
        ({"luma_p99": 0.15, "sharpness": 1.0}, "dark"),
        ({"luma_p01": 0.85, "sharpness": 1.0}, "bright"),
        ({"entropy": 0.5, "sharpness": 0.5}, "low_information"),
        ({"width": 30, "height": 24}, "odd_size"),
        ({"width": 1400, "height": 150}, "odd_aspect"),
        ({"chroma": 0.0}, "grayscale"),
    ],
)
def test_reports_the_bad_image(judged, samples_of, row, kind):
    result = judged(samples_of([*usual(60), row]))
    assert [(finding.row, finding.kind) for finding in result.findings] == [(60, kind)]
    assert result.scores[60] == result.scores.max() > 0.5


def test_good_dataset_has_no_findings(judged, samples_of):
    result = judged(samples_of(usual(200)))
    assert not result.findings
    assert (result.scores < 0.5).all()


@pytest.mark.parametrize("nature", [{"luma_p99": 0.2}, {"luma_p01": 0.8}, {"chroma": 0.0}, {"sharpness": 1.2}, {"width": 32, "height": 32}])
def test_judges_class_by_its_own_median(judged, samples_of, nature):
    samples = samples_of([*usual(300), *usual(40, label="night", **nature)])
    assert not judged(samples).findings


def test_ignores_gray_dataset(judged, samples_of):
    assert not judged(samples_of(usual(100, chroma=0.0))).findings


def test_tiny_dataset_flags_only_blank_images(judged, samples_of):
    rows = [{"luma_p99": 0.1}, {"chroma": 0}, {"entropy": 0.0, "luma_p99": 0.0}]
    assert [(finding.row, finding.kind) for finding in judged(samples_of(rows)).findings] == [(2, "low_information")]


def test_thresholds_are_options(judged, samples_of):
    samples = samples_of([*usual(60), {"sharpness": 1.4}])
    assert judged(samples).findings
    assert not judged(samples, {"blurred": 1.0}).findings


def test_a_plain_subject_is_not_blurred(samples_of):
    samples = samples_of([*usual(60), {"sharpness": 1.4}])
    thumbnails = np.concatenate([detailed(60), plain(1)])
    assert not run(samples, thumbnails, options=Options()).findings
    blurred = run(samples, np.concatenate([detailed(60), detailed(1, seed=1)]), options=Options())
    assert [(finding.row, finding.kind) for finding in blurred.findings] == [(60, "blurred")]


def test_an_object_on_white_is_not_overexposed(samples_of):
    samples = samples_of([*usual(60), {"luma_p01": 0.85}])
    product, washed_out = np.full((1, 32, 32, 3), 255, np.uint8), np.full((1, 32, 32, 3), 230, np.uint8)
    product[:, 8:24, 8:24] = 225
    for thumbnail, found in ((product, []), (washed_out, ["bright"])):
        result = run(samples, np.concatenate([detailed(60), thumbnail]), options=Options())
        assert [finding.kind for finding in result.findings] == found


def test_a_color_photo_of_something_gray_is_not_gray(samples_of):
    samples = samples_of([*usual(60), {"chroma": 0.01}, {"chroma": 0.0}])
    assert [finding.row for finding in run(samples, detailed(62), options=Options()).findings] == [61]


def test_detail_is_relative_to_the_size_and_the_coarse_detail():
    fine = fine_detail(np.array([2.0, 2.0, 1.0]), np.array([2.0, 2.0, 2.0]), np.array([32.0, 256.0, 4000.0]))
    np.testing.assert_allclose(fine, [-0.35, 0.94, -0.06])
    coarse, white = coarse_detail(np.concatenate([plain(1), np.full((1, 32, 32, 3), 255, np.uint8)]))
    assert coarse[0] < 0.1
    assert white.tolist() == [0, 1]


def test_a_class_of_ten_is_judged_by_its_own_median(judged, samples_of):
    night = usual(10, label="night", luma_p99=0.2)
    assert not judged(samples_of([*usual(100), *night])).findings
    assert len(judged(samples_of([*usual(100), *night[:9]])).findings) == 9

import numpy as np
import pytest


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
def test_reports_the_bad_image(run_named, samples_of, row, kind):
    result = run_named("image_quality", samples=samples_of([*usual(60), row]))
    assert [(finding.row, finding.kind) for finding in result.findings] == [(60, kind)]
    assert result.scores[60] == result.scores.max() > 0.5


def test_good_dataset_has_no_findings(run_named, samples_of):
    result = run_named("image_quality", samples=samples_of(usual(200)))
    assert not result.findings
    assert (result.scores < 0.5).all()


@pytest.mark.parametrize("nature", [{"luma_p99": 0.2}, {"luma_p01": 0.8}, {"chroma": 0.0}, {"sharpness": 1.5}, {"width": 32, "height": 32}])
def test_judges_class_by_its_own_median(run_named, samples_of, nature):
    samples = samples_of([*usual(300), *usual(40, label="night", **nature)])
    assert not run_named("image_quality", samples=samples).findings


def test_ignores_gray_dataset(run_named, samples_of):
    assert not run_named("image_quality", samples=samples_of(usual(100, chroma=0.0))).findings


def test_tiny_dataset_flags_only_blank_images(run_named, samples_of):
    rows = [{"luma_p99": 0.1}, {"chroma": 0}, {"entropy": 0.0, "luma_p99": 0.0}]
    assert [(finding.row, finding.kind) for finding in run_named("image_quality", samples=samples_of(rows)).findings] == [(2, "low_information")]


def test_thresholds_are_options(run_named, samples_of):
    samples = samples_of([*usual(60), {"sharpness": 1.9}])
    assert run_named("image_quality", samples=samples).findings
    assert not run_named("image_quality", {"blurred": 1.0}, samples=samples).findings

import numpy as np


def test_reports_every_copy_but_the_representative(run_named, samples_of, pairs_of):
    pairs = pairs_of(
        [(0, 2, "identical_bytes", 1, 2), (2, 3, "identical_pixels", 1, 2), (0, 3, "identical_pixels", 1, 2), (1, 4, "re_encoded", 1, 1)]
    )
    result = run_named("exact_duplicates", samples=samples_of([{}] * 5), pairs=pairs)
    assert [(finding.row, finding.partner, finding.group, finding.kind) for finding in result.findings] == [
        (0, 2, 2, "identical_bytes"),
        (3, 2, 2, "identical_pixels"),
    ]
    np.testing.assert_allclose(result.scores, [1, 0, 0, 0.99, 0])


def test_failed_images_have_no_score(run_named, samples_of):
    assert np.isnan(run_named("exact_duplicates", samples=samples_of([{"outcome": "empty"}])).scores[0])


def test_reports_copy_outside_its_group(run_named, samples_of, pairs_of):
    """0 is the representative of the resized 1 and 2; 3 has the bytes of 1 and was not compared with others."""
    samples = samples_of([{}] * 4)
    pairs = pairs_of([(0, 1, "re_encoded", 0.9, 0), (0, 2, "re_encoded", 0.9, 0), (1, 3, "identical_bytes", 1, -1)])
    (finding,) = run_named("exact_duplicates", samples=samples, pairs=pairs).findings
    assert (finding.row, finding.partner) == (3, 1)

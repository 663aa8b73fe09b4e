import numpy as np

from audit.checks import Skipped
from audit.checks.outliers import kth_distance


def clustered(n=40, seed=0):
    center = np.eye(16)[0]
    return center + 0.05 * np.random.default_rng(seed).normal(size=(n, 16))


def test_a_stray_is_found_and_nothing_else(run_named, samples_of, neighbors_of):
    vectors = clustered()
    vectors[7] = np.eye(16)[5]
    neighbors, similarities = neighbors_of(vectors)
    result = run_named("outliers", samples=samples_of([{}] * 40), neighbors=neighbors, similarities=similarities)
    assert [finding.row for finding in result.findings] == [7]
    assert result.scores.argmax() == 7


def test_copies_of_a_stray_do_not_hide_it(run_named, samples_of, pairs_of, neighbors_of):
    vectors = clustered()
    vectors[[7, 8, 9, 10]] = np.eye(16)[5]
    neighbors, similarities = neighbors_of(vectors)
    tables = {"samples": samples_of([{}] * 40), "neighbors": neighbors, "similarities": similarities}
    assert not run_named("outliers", **tables).findings
    pairs = pairs_of([(i, j, "identical_bytes", 1, 7) for i in (7, 8, 9, 10) for j in (7, 8, 9, 10) if i < j])
    assert [finding.row for finding in run_named("outliers", pairs=pairs, **tables).findings] == [7, 8, 9, 10]


def test_a_spread_out_class_is_not_flagged_wholesale(run_named, samples_of, neighbors_of):
    rng = np.random.default_rng(0)
    vectors = np.concatenate([clustered(100), rng.normal(size=(20, 16))])
    neighbors, similarities = neighbors_of(vectors)
    labels = [{"label": "tight"}] * 100 + [{"label": "wide"}] * 20
    result = run_named("outliers", samples=samples_of(labels), neighbors=neighbors, similarities=similarities)
    assert len(result.findings) <= 1


def test_kth_distance_skips_copies_and_gaps():
    neighbors = np.array([[1, 2, 3], [0, -1, -1], [-1, -1, -1], [0, 1, 2]], np.int32)
    similarities = np.array([[0.9, 0.8, 0.5], [0.9, np.nan, np.nan], [np.nan] * 3, [0.5, 0.4, 0.3]], np.float32)
    distance, nearest = kth_distance(neighbors, similarities, np.array([[0, 1]]), 2)
    np.testing.assert_allclose(distance, [0.5, np.nan, np.nan, 0.6], rtol=1e-6)
    assert nearest.tolist() == [2, -1, -1, 0]


def test_too_few_images(run_named, samples_of, neighbors_of):
    neighbors, similarities = neighbors_of(np.eye(3))
    assert isinstance(run_named("outliers", samples=samples_of([{}] * 3), neighbors=neighbors, similarities=similarities), Skipped)

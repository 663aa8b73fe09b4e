import numpy as np
import pytest

from audit.checks import Skipped
from audit.checks.conflicting_labels import majority


def test_both_sides_are_errors_and_the_majority_is_suggested(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": label} for label in ("cat", "dog", "cat", "cat")])
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "identical_bytes", 1, 0), (1, 2, "identical_bytes", 1, 0)])
    result = run_named("conflicting_labels", samples=samples, pairs=pairs)
    by_row = {finding.row: finding for finding in result.findings}
    assert set(by_row) == {0, 1, 2}
    assert {finding.severity for finding in result.findings} == {"error"}
    assert by_row[1].suggested_label == "cat"
    assert by_row[0].suggested_label is None
    np.testing.assert_allclose(result.scores, [1, 1, 1, 0])


def test_neighbors_decide_between_two(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": label} for label in ("cat", "dog", "dog", "dog", "cat")])
    neighbors = np.array([[1, 2, 3], [0, 2, 3], [3, -1, -1], [2, -1, -1], [0, -1, -1]], np.int32)
    result = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "re_encoded", 0.9, 0)]), neighbors=neighbors)
    assert [(finding.row, finding.suggested_label) for finding in result.findings] == [(0, "dog"), (1, None)]


def test_a_scene_is_weaker_than_a_copy(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": "cat"}, {"label": "dog"}])
    result = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "same_scene", 1, -1)]))
    assert {(finding.severity, finding.kind) for finding in result.findings} == {("warning", "same_scene")}
    assert result.scores.max() < 0.5


def test_lists_of_labels_differ_as_sets(run_named, samples_of, pairs_of):
    rows = [{"label": None, "labels": labels} for labels in (["a", "b"], ["b", "a"], ["a"], [])]
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (1, 2, "identical_bytes", 1, 1), (2, 3, "identical_bytes", 1, 2)])
    result = run_named("conflicting_labels", samples=samples_of(rows), pairs=pairs)
    assert [finding.row for finding in result.findings] == [1, 2]
    assert np.isnan(result.scores[3])


def test_without_labels_it_is_skipped(run_named, samples_of):
    assert run_named("conflicting_labels", samples=samples_of([{"label": None}])) == Skipped("no labels in this dataset")


@pytest.mark.parametrize(("votes", "label"), [([], None), ([None], None), (["a", None], "a"), (["a", "b"], None), (["b", "a", "b"], "b")])
def test_majority(votes, label):
    assert majority(votes) == label


def test_an_uncertain_pair_is_a_warning(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": "cat"}, {"label": "dog"}])
    for score, severity in ((0.95, "error"), (0.6, "warning")):
        findings = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "edited_copy", score, 0)])).findings
        assert {finding.severity for finding in findings} == {severity}
        assert all(("probably" in finding.message) == (severity == "warning") for finding in findings)

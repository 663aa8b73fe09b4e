import numpy as np
import pandas as pd
import pytest

from audit.checks import Skipped
from audit.checks.conflicting_labels import majority
from audit.tables import RELATIONS


@pytest.mark.parametrize("odd", range(5))
def test_odd_one_of_five_copies_is_the_error(run_named, samples_of, pairs_of_sets, odd):
    samples = samples_of([{"label": "dog" if row == odd else "cat", "content_id": "0" * 64} for row in range(5)])
    result = run_named("conflicting_labels", samples=samples, pairs=pairs_of_sets([0] * 5))
    by_row = {finding.row: finding for finding in result.findings}
    assert sorted(by_row) == [0, 1, 2, 3, 4]
    assert {finding.evidence["relation"] for finding in result.findings} == {"identical_bytes"}
    wrong = by_row.pop(odd)
    assert (wrong.severity, wrong.suggested_label, wrong.evidence["conflicting_copies"]) == ("error", "cat", 4)
    for finding in by_row.values():
        assert (finding.severity, finding.suggested_label, finding.partner, finding.evidence["conflicting_copies"]) == ("info", None, odd, 1)
        assert "Labelled 'cat' like 4 of 5 copies, but is a copy of" in finding.message
    np.testing.assert_allclose(result.scores, [1.0 if row == odd else 0.4 for row in range(5)])


def test_both_of_two_copies_are_errors(run_named, samples_of, pairs_of_sets):
    result = run_named("conflicting_labels", samples=samples_of([{"label": "cat"}, {"label": "dog"}]), pairs=pairs_of_sets([0, 0]))
    assert [(finding.row, finding.severity, finding.suggested_label) for finding in result.findings] == [(0, "error", None), (1, "error", None)]
    np.testing.assert_allclose(result.scores, [1, 1])


def test_chain_of_copies_has_certainty_of_weaker_link(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": label} for label in ("cat", None, "dog")])
    pairs = pairs_of([(0, 1, "re_encoded", 0.95, 0), (1, 2, "edited_copy", 0.8, -1)])
    findings = run_named("conflicting_labels", samples=samples, pairs=pairs).findings
    assert [(finding.row, finding.severity, finding.evidence["relation"]) for finding in findings] == [
        (0, "warning", "edited_copy"),
        (2, "warning", "edited_copy"),
    ]
    np.testing.assert_allclose([finding.score for finding in findings], 0.8)


def test_copies_share_their_scene(run_named, samples_of, pairs_of):
    """Only the first of two copies was compared with the other shot."""
    samples = samples_of([{"label": label} for label in ("cat", "cat", "dog")])
    findings = run_named(
        "conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "same_scene", 0.9, -1)])
    ).findings
    assert [(finding.row, finding.kind) for finding in findings] == [(0, "same_scene"), (1, "same_scene"), (2, "same_scene")]


@pytest.mark.parametrize("seed", range(20))
def test_order_of_rows_does_not_matter(run_named, samples_of, pairs_of, pairs_of_sets, seed):
    draw = np.random.default_rng(seed)
    pictures, labels = draw.integers(0, 20, 40), draw.choice(["cat", "dog", "bird"], 40)
    near = [(*draw.choice(20, 2, replace=False).tolist(), str(draw.choice(RELATIONS[2:])), float(draw.uniform(0.5, 1))) for _ in range(8)]

    def found(order):
        shown = pictures[order]
        samples = samples_of(
            [
                {"sample_id": f"{row:03}.jpg", "label": str(labels[row]), "content_id": f"{number:064x}"}
                for row, number in zip(order, shown, strict=True)
            ]
        )
        first = {number: int(np.flatnonzero(shown == number)[0]) for number in np.unique(shown)}
        links = [(*sorted((first[a], first[b])), relation, score, -1) for a, b, relation, score in near if a in first and b in first]
        pairs = pd.concat([pairs_of_sets(shown.tolist()), pairs_of(links)], ignore_index=True)
        result = run_named("conflicting_labels", samples=samples, pairs=pairs)
        names = samples["sample_id"]
        conflicts = {
            (names[finding.row], names[finding.partner], finding.kind, finding.severity, round(finding.score, 6), finding.suggested_label)
            for finding in result.findings
        }
        return conflicts, dict(zip(names, result.scores.tolist(), strict=True))

    assert found(np.arange(40)) == found(draw.permutation(40))


def test_neighbors_break_a_tie(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": label} for label in ("cat", "dog", "dog", "dog", "cat")])
    neighbors = np.array([[1, 2, 3], [0, 2, 3], [3, -1, -1], [2, -1, -1], [0, -1, -1]], np.int32)
    result = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "re_encoded", 0.9, 0)]), neighbors=neighbors)
    assert [(finding.row, finding.suggested_label) for finding in result.findings] == [(0, "dog"), (1, None)]


def test_scene_scores_below_copy(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": "cat"}, {"label": "dog"}])
    result = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "same_scene", 1, -1)]))
    assert {(finding.severity, finding.kind) for finding in result.findings} == {("warning", "same_scene")}
    assert result.scores.max() < 0.5


def test_compares_label_sets(run_named, samples_of, pairs_of):
    rows = [{"label": None, "labels": labels} for labels in (["a", "b"], ["b", "a"], ["a"], [])]
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (1, 2, "identical_bytes", 1, 1), (2, 3, "identical_bytes", 1, 2)])
    result = run_named("conflicting_labels", samples=samples_of(rows), pairs=pairs)
    assert [(finding.row, finding.severity) for finding in result.findings] == [(0, "info"), (1, "info"), (2, "error")]
    assert np.isnan(result.scores[3])


def test_is_skipped_without_labels(run_named, samples_of):
    assert run_named("conflicting_labels", samples=samples_of([{"label": None}])) == Skipped("no labels in this dataset")


@pytest.mark.parametrize(("votes", "label"), [([], None), ([None], None), (["a", None], "a"), (["a", "b"], None), (["b", "a", "b"], "b")])
def test_majority(votes, label):
    assert majority(votes) == label


def test_uncertain_pair_is_a_warning(run_named, samples_of, pairs_of):
    samples = samples_of([{"label": "cat"}, {"label": "dog"}])
    for score, severity in ((0.95, "error"), (0.6, "warning")):
        findings = run_named("conflicting_labels", samples=samples, pairs=pairs_of([(0, 1, "edited_copy", score, 0)])).findings
        assert {finding.severity for finding in findings} == {severity}
        assert all(("probably" in finding.message) == (severity == "warning") for finding in findings)

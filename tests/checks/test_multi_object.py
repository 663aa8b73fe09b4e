import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from audit.checks.multi_object import two_likeliest
from audit.errors import ConfigError
from audit.labels.quality import judge_labels

CLASSES = ["ant", "bee", "cat", "dog"]


def sure(codes):
    predictions = np.full((len(codes), len(CLASSES)), 0.02, np.float32)
    predictions[np.arange(len(codes)), codes] = 0.94
    return predictions


@pytest.fixture
def found(run_named, samples_of):
    def run(given, predictions, classes=CLASSES, options=None, **more):
        samples = samples_of([{"label": classes[code], **more} for code in given])
        quality = judge_labels(predictions, np.asarray(given))
        return run_named(
            "multi_object",
            options,
            samples=samples,
            predictions=predictions,
            label_quality=quality,
            classes=classes,
            class_words={"bee": "bee, wasp"},
        )

    return run


def test_reports_two_classes_with_similar_probability(found):
    given = np.repeat(np.arange(4), 30)
    predictions = sure(given)
    predictions[5] = [0.5, 0.45, 0.03, 0.02]
    predictions[6] = [0.6, 0.35, 0.03, 0.02]  # the second is far less likely
    predictions[7] = [0.3, 0.28, 0.22, 0.2]  # the two hold little together
    predictions[8] = np.nan
    result = found(given, predictions)
    (finding,) = result.findings
    assert (finding.row, finding.kind, finding.evidence["classes"]) == (5, "two_classes", ["ant", "bee"])
    assert "'ant' (50%) and 'bee' (bee) (45%)" in finding.message
    assert result.scores[5] == pytest.approx(0.45 / 0.5 * 0.95)
    assert np.isnan(result.scores[8])
    assert (result.scores[[0, 6, 7]] < 0.6).all()


def test_ignores_confused_classes(found):
    given = np.repeat(np.arange(4), 30)
    predictions = sure(given)
    predictions[:10, [0, 1]], predictions[30:40, [0, 1]] = [0.45, 0.51], [0.51, 0.45]
    assert found(given, predictions).findings == []


def test_reports_class_with_its_most_frequent_other(found):
    given = np.repeat(np.arange(4), 40)
    predictions = sure(given)
    predictions[:16] = [0.5, 0.02, 0.02, 0.46]
    *images, of_class = found(given, predictions).findings
    assert len(images) == 16
    assert (of_class.label, of_class.evidence["two_classes"], of_class.evidence["most_often"]) == ("ant", 16, ["dog"])
    assert of_class.evidence["share_interval"][0] < 0.4 < of_class.evidence["share_interval"][1]


def test_ignores_classes_at_the_limit(found):
    names = [f"c{at:03d}" for at in range(200)]
    given = np.repeat(np.arange(200), 50)
    predictions = np.full((len(given), 200), 1e-4, np.float32)
    predictions[np.arange(len(given)), given] = 0.9
    rows = np.flatnonzero(np.random.default_rng(0).random(len(given)) < 0.1)
    predictions[rows, given[rows]] = predictions[rows, (given[rows] + 100) % 200] = 0.45
    images = [finding for finding in found(given, predictions, names, {"confusable": 0.5}).findings if finding.kind == "class_of_two"]
    assert images == []


def test_is_skipped_for_two_classes_or_label_sets(found):
    given = np.repeat([0, 1], 30)
    assert "fewer than three classes" in found(given, sure(given)[:, :2], CLASSES[:2]).reason
    assert "several labels" in found(given, sure(given), labels=["ant", "bee"]).reason


def test_two_likeliest_match_a_sort(monkeypatch):
    predictions = np.random.default_rng(0).dirichlet(np.ones(7), 50).astype(np.float32)
    whole = two_likeliest(predictions)
    monkeypatch.setattr("audit.checks.multi_object._ROWS_AT_ONCE", 9)
    order = np.argsort(-predictions, axis=1)[:, :2]
    for classes, likely in (whole, two_likeliest(predictions)):
        np.testing.assert_array_equal(classes, order)
        np.testing.assert_array_equal(likely, np.take_along_axis(predictions, order, 1))


@drawn(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 300))
def test_two_likeliest_are_the_first_of_equal_ones(seed, rows, classes):
    predictions = np.random.default_rng(seed).integers(0, 4, (rows, classes)).astype(np.float32) / 4
    order = np.argsort(-predictions, axis=1, kind="stable")[:, :2]
    found_classes, likely = two_likeliest(predictions)
    np.testing.assert_array_equal(found_classes, order)
    np.testing.assert_array_equal(likely, np.take_along_axis(predictions, order, 1))


def test_two_likeliest_of_no_prediction_are_nan():
    assert np.isnan(two_likeliest(np.full((1, 3), np.nan, np.float32))[1]).all()


def test_refuses_options_out_of_range(found):
    with pytest.raises(ConfigError, match="least_ratio: 0 is not above 0"):
        found([0, 1], sure(np.array([0, 1])), options={"least_ratio": 0})

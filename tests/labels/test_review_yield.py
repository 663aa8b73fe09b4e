import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.artifacts import write_table
from audit.labels.review_yield import calibrate, calibrated, depth_for_precision, depth_for_recall, expected_yield, label_error_yield, outcomes
from audit.tables import LABEL_QUALITY


def test_without_decisions_it_is_the_mean_probability_of_the_list():
    found = expected_yield(np.array([0.9, np.nan, 0.5, 0.8], np.float32), np.array([0.99, 1.0, 0.2, 0.6], np.float32))
    np.testing.assert_allclose(found.precision, [0.99, 0.795, 0.59667], atol=1e-4)
    np.testing.assert_allclose(found.recall[-1], 1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan])), max_size=30))
def test_an_interval_holds_what_is_expected(rows):
    score, probability, outcome = (np.array(column, float) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    found = expected_yield(score, probability, outcome=outcome)
    assert (found.low <= found.precision + 1e-12).all()
    assert (found.precision <= found.high + 1e-12).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()
    assert (np.diff(found.recall) >= -1e-12).all()


def test_what_was_decided_is_certain():
    score = np.linspace(1, 0, 10)
    found = expected_yield(score, np.full(10, 0.5), outcome=np.array([1, 1, 0, 1, *[np.nan] * 6]))
    assert found.precision[3] == found.low[3] == found.high[3] == 0.75


def test_decisions_correct_what_was_stated_and_narrow_the_interval():
    draw = np.random.default_rng(0)
    stated = draw.uniform(0.05, 0.99, 2000)
    true = 1 / (1 + np.exp(-(np.log(stated / (1 - stated)) - 0.5)))
    wrong = (draw.random(2000) < true).astype(float)
    order = np.argsort(-stated)
    decided = np.full(2000, np.nan)
    decided[order[:400]] = wrong[order[:400]]
    before, after = expected_yield(stated, stated), expected_yield(stated, stated, outcome=decided)
    real = wrong[order].cumsum() / np.arange(1, 2001)
    for depth in (600, 1000, 2000):
        at = depth - 1
        assert abs(after.precision[at] - real[at]) < abs(before.precision[at] - real[at])
        assert after.low[at] <= real[at] <= after.high[at]
        assert after.high[at] - after.low[at] < before.high[at] - before.low[at]


def test_few_decisions_move_little_and_many_move_all():
    stated = np.full(3000, 0.9)
    for number, expected in ((3, 0.85), (3000, 0.5)):
        outcome = np.full(3000, np.nan)
        outcome[:number] = np.arange(number) % 2
        moved = calibrated(stated[:1], calibrate(stated, outcome))[0]
        assert abs(moved - expected) < 0.05


def test_how_deep_to_review():
    found = expected_yield(np.array([4.0, 3, 2, 1]), np.array([0.99, 0.81, 0.6, 0.0]))
    assert depth_for_precision(found, 0.75) == 3
    assert depth_for_precision(found, 0.75, certain=True) < 3
    assert depth_for_precision(found, 0.999) == 0
    assert depth_for_recall(found, 0.7) == 2
    assert depth_for_recall(found, 1.0) == 4
    nothing = expected_yield(np.empty(0), np.empty(0))
    assert (depth_for_precision(nothing, 0.5), depth_for_recall(nothing, 0.5)) == (0, 0)


def test_most_reviewers_of_an_image_count():
    decisions = pd.DataFrame(
        [
            ("label_errors", "a", "relabel"),
            ("label_errors", "a", "drop"),
            ("label_errors", "a", "keep"),
            ("label_errors", "b", "keep"),
            ("label_errors", "c", "keep"),
            ("label_errors", "c", "drop"),
            ("label_errors", "d", "unsure"),
            ("leakage", "d", "drop"),
        ],
        columns=["check", "sample_id", "verdict"],
    )
    np.testing.assert_array_equal(outcomes(pd.Series(list("abcde")), decisions), [1, 0, np.nan, np.nan, np.nan])


def test_of_a_run(small_run):
    rows = [{"given": 0, "predicted": 0, "alternative": 1, "probability_wrong": wrong, "score": wrong} for wrong in (0.9, 0.1, 0.5, None, 0.8, 0.7)]
    write_table(small_run.path / "label_quality.parquet", pa.Table.from_pylist(rows, LABEL_QUALITY))
    found = label_error_yield(small_run)
    assert len(found.depth) == 5
    decisions = pd.DataFrame({"check": ["label_errors"], "sample_id": ["train/cat/1.jpg"], "verdict": ["keep"]})
    assert label_error_yield(small_run, decisions).precision[0] == 0

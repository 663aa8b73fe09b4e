import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.labels.review_yield import calibrate, calibrated, expected_yield


def test_without_decisions_precision_is_the_mean_probability():
    found = expected_yield(np.array([0.9, np.nan, 0.5, 0.8], np.float32), np.array([0.99, 1.0, 0.2, 0.6], np.float32))
    np.testing.assert_allclose(found.precision, [0.99, 0.795, 0.59667], atol=1e-4)
    np.testing.assert_allclose(found.recall[-1], 1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan])), max_size=30))
def test_interval_contains_the_expected_precision(rows):
    score, probability, outcome = (np.array(column, float) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    found = expected_yield(score, probability, outcome=outcome)
    assert (found.low <= found.precision + 1e-12).all()
    assert (found.precision <= found.high + 1e-12).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()
    assert (np.diff(found.recall) >= -1e-12).all()


def test_decided_images_are_certain():
    score = np.linspace(1, 0, 10)
    found = expected_yield(score, np.full(10, 0.5), outcome=np.array([1, 1, 0, 1, *[np.nan] * 6]))
    assert found.precision[3] == found.low[3] == found.high[3] == 0.75


def test_decisions_correct_probabilities_and_narrow_the_interval():
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


def test_few_decisions_move_little_and_many_move_fully():
    stated = np.full(3000, 0.9)
    for number, expected in ((3, 0.85), (3000, 0.5)):
        outcome = np.full(3000, np.nan)
        outcome[:number] = np.arange(number) % 2
        moved = calibrated(stated[:1], calibrate(stated, outcome))[0]
        assert abs(moved - expected) < 0.05

import numpy as np
import pytest

from audit.labels.noise import estimate_noise
from audit.labels.suspicion import suspect


def slips(rows=4000, share=0.15, seed=0):
    """Three classes, predictions with 85% on the true class, and labels whose only errors are 0 to 1."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 3, rows)
    guess = np.where(draw.random(rows) < 0.85, true, draw.integers(0, 3, rows))
    predictions = np.full((rows, 3), 0.075, np.float32)
    predictions[np.arange(rows), guess] = 0.85
    given = np.where((true == 0) & (draw.random(rows) < share), 1, true)
    return predictions, given, true


def test_estimates_the_transition_matrix():
    predictions, given, _ = slips()
    transition = estimate_noise(predictions, given, kind="matrix").transition
    np.testing.assert_allclose(transition.sum(1), 1, rtol=1e-6)
    assert transition[0, 1] == transition[~np.eye(3, dtype=bool)].max()


def test_matrix_is_chosen_where_every_class_has_errors_of_its_own():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 5, 6000)
    guess = np.where(draw.random(6000) < 0.9, true, draw.integers(0, 5, 6000))
    predictions = np.full((6000, 5), 0.02, np.float32)
    predictions[np.arange(6000), guess] = 0.92
    given = np.where(draw.random(6000) < 0.1 + 0.04 * true, (true + draw.integers(1, 3, 6000)) % 5, true)
    noise = estimate_noise(predictions, given)
    assert (noise.kind, noise.of_people) == ("matrix", True)
    assert noise.share == pytest.approx((given != true).mean(), abs=0.08)


def test_common_error_is_more_suspicious_than_rare_one():
    predictions, given, _ = slips()
    found = suspect(np.array([[0.78, 0.2, 0.02], [0.02, 0.2, 0.78]], np.float32), np.array([1, 1]), estimate_noise(predictions, given, kind="matrix"))
    assert found.probability[0] > found.probability[1]
    assert found.other.tolist() == [0, 2]


def test_rows_without_label_or_prediction_are_not_judged():
    predictions, given, _ = slips(50)
    predictions[3] = np.nan
    given[7] = -1
    found = suspect(predictions, given, estimate_noise(predictions, given))
    assert np.flatnonzero(np.isnan(found.score)).tolist() == [3, 7]
    assert found.other[[3, 7]].tolist() == [-1, -1]


def test_decisive_predictions_are_ranked_by_margin():
    rows = 400
    given = np.arange(rows) % 3
    predictions = np.full((rows, 3), 0.005, np.float32)
    predictions[np.arange(rows), given] = 0.99
    given[0], given[1] = 1, 1
    predictions[0] = [0.95, 0.05, 0.0]  # clearly another class
    predictions[1] = [0.49, 0.02, 0.49]  # uncertain
    found = suspect(predictions, given, estimate_noise(predictions, given, supplied=True))
    assert found.score[0] > found.score[1] > np.sort(found.score)[-3]


@pytest.mark.parametrize(("rows", "classes"), [(0, 3), (5, 1), (5, 0)])
def test_accepts_empty_input(rows, classes):
    predictions, given = np.ones((rows, classes), np.float32), np.zeros(rows, np.int64)
    assert np.isnan(suspect(predictions, given, estimate_noise(predictions, given)).score).all()


def dealt_in_turn(rows=20_000, classes=10, seed=0):
    """Alternating labels; a third of those of class 3 should be 5."""
    draw = np.random.default_rng(seed)
    given = np.arange(rows) % classes
    true = np.where((given == 3) & (draw.random(rows) < 0.3), 5, given)
    predictions = np.full((rows, classes), 0.02, np.float32)
    predictions[np.arange(rows), true] = 0.82
    return predictions, given


def test_samples_many_rows_and_covers_every_class(monkeypatch):
    predictions, given = dealt_in_turn()
    every = estimate_noise(predictions, given, kind="matrix").transition
    monkeypatch.setattr("audit.labels.noise.ESTIMATION_ROWS", 8_000)
    some = estimate_noise(predictions, given, kind="matrix").transition
    assert every[5, 3] > 0.15
    np.testing.assert_allclose(some, every, atol=0.06)


def test_sample_does_not_depend_on_row_order(monkeypatch):
    monkeypatch.setattr("audit.labels.noise.ESTIMATION_ROWS", 2_000)
    predictions, given, _ = slips()
    draw = np.random.default_rng(1)
    images = np.array([f"{number:032x}" for number in draw.integers(0, 2**62, len(given))], "S32")
    order = draw.permutation(len(given))
    first = estimate_noise(predictions, given, images=images, kind="matrix")
    again = estimate_noise(predictions[order], given[order], images=images[order], kind="matrix")
    np.testing.assert_allclose(again.transition, first.transition, atol=1e-6)
    assert again.decisiveness == pytest.approx(first.decisiveness)


def test_result_does_not_depend_on_block_size(monkeypatch):
    predictions, given, _ = slips(300)
    whole = suspect(predictions, given, estimate_noise(predictions, given))
    monkeypatch.setattr("audit.io.blocks.CELLS_AT_ONCE", 21)
    np.testing.assert_allclose(suspect(predictions, given, estimate_noise(predictions, given)).score, whole.score, atol=1e-6)

import numpy as np
import pytest

from audit.labels.calibration import best_temperature, expected_calibration_error, softmax


def test_softmax_adds_up_and_survives_large_logits():
    found = softmax(np.array([[1000, 999], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.731059, 0.268941], [0.5, 0.5]], atol=1e-6)


def test_temperature_undoes_what_was_multiplied():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (5000, 4)).astype(np.float32)
    labels = np.array([draw.choice(4, p=row) for row in softmax(logits).astype(float) / softmax(logits).sum(1, keepdims=True, dtype=float)])
    assert best_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)


def test_calibration_error():
    happened = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), happened, bins=5) == pytest.approx(0)
    assert expected_calibration_error(np.full(1000, 0.9), happened, bins=5) == pytest.approx(0.4)
    assert expected_calibration_error(np.empty(0), np.empty(0, bool)) == 0

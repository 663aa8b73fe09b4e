import numpy as np
import pytest

from audit.predictions.calibration import best_temperature, softmax


def test_softmax_sums_to_1_with_large_logits():
    found = softmax(np.array([[1000, 999], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.731059, 0.268941], [0.5, 0.5]], atol=1e-6)


def test_temperature_undoes_scaling():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (5000, 4)).astype(np.float32)
    labels = np.array([draw.choice(4, p=row) for row in softmax(logits).astype(float) / softmax(logits).sum(1, keepdims=True, dtype=float)])
    assert best_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)


def test_temperature_does_not_depend_on_class_order():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (3000, 5)).astype(np.float32)
    labels = logits.argmax(1)
    labels[::5] = draw.integers(0, 5, 600)
    order = draw.permutation(5)
    found = best_temperature(logits, labels)
    assert best_temperature(logits[:, np.argsort(order)], order[labels]) == pytest.approx(found, rel=1e-8)
    assert best_temperature(logits * np.float32(1 + 1e-6), labels) == pytest.approx(found, rel=1e-5)


def test_temperature_is_bounded():
    logits = np.array([[1, 0], [0, 1]], np.float32)
    assert best_temperature(logits, np.array([0, 1])) == pytest.approx(np.exp(-6))  # always right: the sharper, the better
    assert best_temperature(logits, np.array([1, 0])) == pytest.approx(np.exp(3))

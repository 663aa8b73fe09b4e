import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, false_discovery_control

from audit.statistics.multiple_testing import adjusted_p, concentration_p, share_p

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@pytest.mark.parametrize("method", ["bh", "by"])
@settings(deadline=None)
@given(p=CHANCES, unseen=st.integers(0, 40))
def test_left_out_tests_equal_p_values_of_1(method, p, unseen):
    wanted = false_discovery_control([*p, *[1.0] * unseen], method=method)[: len(p)]
    np.testing.assert_allclose(adjusted_p(p, [True] * len(p), tests=len(p) + unseen, method=method), wanted, atol=1e-12)


@settings(deadline=None)
@given(CHANCES, st.integers(0, 1000))
def test_small_effects_are_not_discoveries(p, seed):
    large = np.random.default_rng(seed).random(len(p)) < 0.5
    adjusted = adjusted_p(p, large)
    assert (adjusted[~large] == 1).all()
    np.testing.assert_array_equal(adjusted, adjusted_p(np.where(large, p, 1.0), [True] * len(p)))


def test_small_true_effects_do_not_raise_the_threshold():
    """Nine hundred true effects that are too small to report, and a hundred null tests whose effects look large."""
    random = np.random.default_rng(0)
    small, reported, dropped_afterwards = np.arange(1000) < 900, 0, 0
    for _ in range(200):
        p = np.where(small, 1e-6, random.random(1000))
        reported += (adjusted_p(p, ~small) <= 0.05).any()
        dropped_afterwards += ((false_discovery_control(p) <= 0.05) & ~small).any()
    assert dropped_afterwards > 190
    assert reported <= 20


def test_accepts_any_shape_and_empty_arrays():
    assert adjusted_p(np.empty((0, 3)), np.empty((0, 3), bool)).shape == (0, 3)
    np.testing.assert_array_equal(adjusted_p([[0.01, 0.5]], [[True, False]]), [[0.02, 1]])


def test_share_p_is_the_binomial_tail():
    counts = np.arange(31)
    np.testing.assert_allclose(share_p(counts, np.full(31, 30), 0.1), binom.sf(counts - 1, 30, 0.1), atol=1e-12)
    between = share_p([2.0, 2.5, 3.0], [30, 30, 30], 0.1)
    assert between[0] > between[1] > between[2]
    assert share_p([0, 1], [0, 1], 0.5).tolist() == [1, 0.5]


@settings(deadline=None)
@given(st.integers(1, 19), st.integers(20, 60), st.integers(20, 60))
def test_more_images_have_smaller_p_value(own, of_class, of_source):
    p = concentration_p(np.array([own, own + 1]), np.array([of_class] * 2), np.array([of_source] * 2), 500)
    assert ((p >= 0) & (p <= 1)).all()
    assert p[1] <= p[0] + 1e-12

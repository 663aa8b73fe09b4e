import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.stratified_rates import compare


def test_p_values_are_calibrated_for_small_groups():
    """Small groups with rare errors: p is below 0.01 in about 1% of them."""
    random = np.random.default_rng(0)
    p = np.concatenate([compare(random.random(2000) < 0.08, random.permutation(2000) // 25, np.arange(2000) % 4).p for _ in range(100)])
    for level in (0.05, 0.01, 0.001):
        assert (p < level).mean() < 1.2 * level


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_rates_match_counts_of_the_group(seed, groups, many):
    random = np.random.default_rng(seed)
    bad, group, classes = random.random(200) < 0.3, random.integers(0, groups, 200), random.integers(0, many, 200)
    compared = compare(bad, group, classes)
    for code in np.unique(group):
        assert compared.size[code] == (group == code).sum()
        assert compared.rate[code] == pytest.approx(bad[group == code].mean())
        assert 0 <= compared.expected[code] <= 1
        assert 0 <= compared.p[code] <= 1

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.properties import bins_of_numbers
from audit.statistics.separability import separability


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_bins_cover_every_value_and_areas_are_in_range(seed, spread):
    random = np.random.default_rng(seed)
    values = random.integers(0, spread, 200).astype(float)
    values[random.random(200) < 0.1] = np.nan
    found = bins_of_numbers("x", values)
    assert found.bins.max() < len(found.bin_names)
    areas, p = separability(found.bins, random.integers(0, 3, 200), random.random(200) < 0.5, 3)
    assert ((areas >= 0) & (areas <= 1) & (p >= 0) & (p <= 1)).all()


def test_p_values_are_calibrated_under_the_null():
    # Errors of the two halves' areas are correlated. If treated as independent, eight p-values in a thousand would be below one in a thousand.
    random = np.random.default_rng(0)
    classes, half = np.arange(1000) % 50, np.arange(1000) // 50 % 2 == 0
    p = np.concatenate([separability(random.integers(0, 24, 1000), classes, half, 50)[1] for _ in range(200)])
    assert (p < 0.001).mean() <= 0.001

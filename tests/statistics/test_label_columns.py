import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.label_columns import label_association


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(2, 5))
def test_shares_match_their_definition(seed, spread, count):
    random = np.random.default_rng(seed)
    values, classes = random.integers(-1, spread, 60), np.arange(60) % count
    found = label_association(values, classes, count)
    for code in range(count):
        mine = classes == code
        above = max((values[mine] == value).mean() - (values[~mine] == value).mean() for value in np.unique(values[mine]))
        assert np.isclose(found.above[code], above)
    usual = sum(np.unique(values[classes == code], return_counts=True)[1].max() for code in range(count))
    common = sum(np.bincount(classes[values == value]).max() for value in np.unique(values))
    assert np.isclose(found.share, max(usual, common) / 60)
    assert ((found.p >= 0) & (found.p <= 1)).all()


def test_values_of_one_image_each_are_not_associated():
    assert label_association(np.arange(60), np.arange(60) % 3, 3).share < 0.1

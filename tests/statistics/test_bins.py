import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from audit.statistics.bins import chance_of, further_range, medians, most_distinctive, standing_out
from audit.statistics.properties import Property


def counts(*numbers):
    return np.array(numbers)


NUMBERS = Property("x", np.zeros(0, np.int64), ["below 1", "1 to 2", "2 to 3", "3 or more", "unknown"], 4, ["1", "2", "3"])


@pytest.mark.parametrize(
    ("own", "rest", "value", "share", "elsewhere"),
    [
        (counts(40, 40, 15, 5, 0), counts(1, 4, 45, 50, 0), "below 2", 0.8, 0.05),
        (counts(5, 15, 40, 40, 0), counts(50, 45, 4, 1, 0), "2 or more", 0.8, 0.05),
        (counts(5, 45, 45, 5, 0), counts(40, 10, 10, 40, 0), "1 to 3", 0.9, 0.2),
        (counts(60, 5, 5, 30, 0), counts(20, 30, 40, 10, 0), "below 1", 0.6, 0.2),
        (counts(10, 10, 10, 10, 60), counts(24, 26, 24, 26, 0), "unknown", 0.6, 0),
    ],
)
def test_names_most_distinctive_range_by_its_limits(own, rest, value, share, elsewhere):
    found = most_distinctive(NUMBERS, own, rest)
    assert found.value == value
    assert (found.share_of_class, found.share_of_rest) == pytest.approx((share, elsewhere))


LIMITS = {"least_share": 0.2, "chance": 0.05}


@pytest.mark.parametrize(
    ("own", "rest", "further"),
    [
        (counts(50, 5, 5, 40, 0), counts(10, 40, 40, 10, 0), "3 or more"),
        (counts(40, 5, 5, 50, 0), counts(10, 40, 40, 10, 0), "below 1"),
        (counts(750, 50, 50, 150, 0), counts(100, 420, 420, 60, 0), None),  # too little of the class
        (counts(60, 5, 5, 30, 0), counts(10, 35, 35, 20, 0), None),  # no more than chance explains
        (counts(50, 45, 3, 2, 0), counts(10, 10, 40, 40, 0), None),
        (counts(100, 0, 0, 0, 0), counts(1, 33, 33, 33, 0), None),
    ],
)
def test_class_at_both_ends_has_second_range_if_both_are_significant(own, rest, further):
    found = further_range(NUMBERS, own, rest, most_distinctive(NUMBERS, own, rest), **LIMITS)
    assert (found and found.value) == further


def test_masked_limits_stay_masked():
    masked = NUMBERS._replace(bin_names=[f"masked value {at}" for at in range(1, 5)] + ["unknown"], ends=())
    assert most_distinctive(masked, counts(40, 40, 15, 5, 0), counts(1, 4, 45, 50, 0)).value == "masked value 1 to masked value 2"


def test_marks_every_value_more_frequent_in_the_class():
    values = Property("x", np.zeros(0, np.int64), ["'a'", "'b'", "'c'", "another value", "unknown"])
    found = most_distinctive(values, counts(30, 50, 10, 10, 0), counts(10, 20, 60, 10, 0))
    assert (found.value, found.share_of_class, found.is_range) == ("'b'", 0.5, False)
    assert found.bins.tolist() == [True, True, False, False, False]
    assert found.together == pytest.approx((2, 0.8, 0.3))


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_no_other_run_of_bins_has_larger_difference(seed):
    random = np.random.default_rng(seed)
    own, rest = (random.multinomial(1000, random.dirichlet(np.ones(5))) for _ in range(2))
    found = most_distinctive(NUMBERS, own, rest)
    more = (own - rest) / 1000
    best = max(more[first:last].sum() for first in range(4) for last in range(first + 1, 5))
    assert found.share_of_class - found.share_of_rest == pytest.approx(max(best, more[-1]))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30))
def test_medians_match_numpy(seed, own, rest):
    random = np.random.default_rng(seed)
    numbers, mine = np.sort(random.integers(0, 9, own + rest)).astype(float), np.sort(random.permutation(own + rest)[:own])
    others = np.setdiff1d(np.arange(own + rest), mine)
    assert medians(numbers, mine) == (np.median(numbers[mine]), np.median(numbers[others]))


def test_median_of_empty_part_is_none():
    assert medians(np.array([1.0, 2.0]), np.array([0, 1])) == (1.5, None)
    assert medians(np.array([1.0, 2.0]), np.zeros(0, np.int64)) == (None, 1.5)


def test_value_stands_out_above_least_share_and_three_times_the_rest():
    made = np.array([[20, 80, 0], [6, 84, 10], [4, 96, 0]])
    assert standing_out(made, 0.2).tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert standing_out(made, 0.1).tolist() == [[True, False, False], [False, False, True], [False] * 3]


def test_chance_is_that_of_the_most_distinctive_value():
    made = np.array([[20, 80, 0], [6, 84, 10]])
    asked = np.array([[True, False, False], [False] * 3])
    found = chance_of(made, asked)
    assert found[0] == pytest.approx(3 * hypergeom.sf(19, 200, 100, 26))
    assert found[1] == 1

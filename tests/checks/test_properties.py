import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks.properties import bins_of_column, bins_of_numbers, is_running_number, properties, told_apart


def column(values):
    return bins_of_column("column x", pd.Series(values, dtype=object))


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=60))
def test_no_two_bins_of_numbers_are_written_alike(values):
    told = bins_of_numbers("x", np.array(values, float)).told
    assert len(set(told)) == len(told)


def test_years_and_other_numbers_close_together_are_told_apart():
    found = bins_of_numbers("x", np.repeat(np.arange(123450, 123490), 10).astype(float))
    assert found.told[0] == "below 123451"
    assert "123459 to 123461" in found.told


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(), st.booleans(), st.text(max_size=3), st.floats()), min_size=1, max_size=80))
def test_values_of_any_kind_have_a_bin_that_is_written_like_no_other(values):
    found = column(values)
    assert len(set(found.told)) == len(found.told)
    assert ((found.bins >= 0) & (found.bins < len(found.told))).all()
    unknown = [found.told[at] == "unknown" for at in found.bins]
    assert unknown == [value is None or value != value for value in values]


def test_texts_among_numbers_leave_the_numbers_their_order():
    found = column([*range(100), "n/a", "n/a", "lost", None])
    assert len(set(found.bins[:100].tolist())) > 20
    assert (np.diff(found.bins[:100]) >= 0).all()
    assert [found.told[at] for at in found.bins[100:]] == ["'n/a'", "'n/a'", "'lost'", "unknown"]


def test_numbers_with_leading_zeros_are_codes():
    codes = [f"{number:05d}" for number in range(100)]
    found = column([*codes, "00007", "7"] * 2)
    assert "'00007'" in found.told
    assert not any(" to " in told for told in found.told)


@pytest.mark.parametrize("values", [[1, 2, 3, 1], ["1", "2", "3", "1"], [1, "2", 3, "1"]])
def test_few_numbers_are_values(values):
    found = column(values)
    assert [found.told[at] for at in found.bins] == ["'1'", "'2'", "'3'", "'1'"]


def test_whole_numbers_stay_whole_beside_empty_cells(samples_of):
    large = 2**60
    rows = [{"metadata": json.dumps({"session": large + number % 2})} for number in range(8)] + [{"metadata": json.dumps({"other": 1})}]
    (found,) = (one for one in properties(samples_of(rows)) if one.name == "column session")
    assert found.told == [f"'{large}'", f"'{large + 1}'", "another value", "unknown"]


@pytest.mark.parametrize(
    ("values", "running"),
    [
        (range(100, 200), True),
        ([f"{at:05}" for at in range(100)], True),
        (range(0, 190, 2), True),
        (range(0, 1000, 10), False),
        ([*range(50), *range(50)], False),
        (np.linspace(0, 9, 100), False),
        (range(20), False),
        ([*range(100), None], False),
        ([f"a{at}" for at in range(100)], False),
    ],
)
def test_a_running_number_is_told_from_what_is_measured(values, running):
    column = pd.Series(list(values), dtype=object)
    assert is_running_number(column, pd.Series([None] * len(column), dtype=object)) == running


def test_numbers_may_run_anew_in_each_split():
    assert is_running_number(pd.Series([*range(50), *range(40)], dtype=object), pd.Series(["train"] * 50 + ["val"] * 40))


def test_kinds_of_names_that_differ_in_punctuation_are_told_apart():
    kinds = told_apart(["a_b", "a_b", "c"], ["a b", "a-b", "c"])
    assert len(set(kinds)) == 3
    assert kinds[2] == "c"
    assert kinds[0].startswith("a_b_")

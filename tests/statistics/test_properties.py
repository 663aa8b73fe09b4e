import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.properties import _WORDS, bins_of_column, bins_of_numbers, border_properties, is_running_number, properties, told_apart


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


def test_what_differs_from_the_value_that_all_others_have_is_a_bin_of_its_own():
    values = np.full(1000, 4096.0)
    values[::40], values[1::100] = 16384.0, 1024.0
    found = bins_of_numbers("pixels", values)
    assert [len(set(found.bins[values == value])) for value in (1024, 4096, 16384)] == [1, 1, 1]
    assert len(set(found.bins)) == 3
    assert found.told[found.bins[0]] == "1.64e+04 or more"


def test_messages_have_words_for_every_property(samples_of):
    samples = samples_of([{"metadata": json.dumps({"owner_name": "somebody", "lens_type": "wide"})} for _ in range(3)])
    found = [*properties(samples), *border_properties(np.zeros((3, 32, 32, 3), np.uint8), np.arange(3))]
    assert {one.name for one in found if one.column is None} == set(_WORDS)
    assert {one.words for one in found if one.column is not None} == {"column 'owner_name'", "column 'lens_type'"}
    assert not any("_" in words for words in _WORDS.values())


def test_every_value_of_a_file_is_told_however_rare_but_not_those_of_personal_columns(samples_of):
    samples = samples_of([{"camera": f"ACME {at}", "metadata": json.dumps({"owner": f"person {at}"})} for at in range(60)] + [{}])
    found = {one.name: one for one in properties(samples)}
    assert [found["camera"].value_told(at) for at in (0, 59, 60)] == ["'ACME 0'", "'ACME 59'", "unknown"]
    assert all(found["column owner"].value_told(at).startswith("masked value") for at in range(60))

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.properties import _WORDS, bins_of_column, bins_of_numbers, border_properties, distinct_kinds, is_running_number, properties


def column(values):
    return bins_of_column("column x", pd.Series(values, dtype=object))


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=60))
def test_names_of_number_bins_are_distinct(values):
    names = bins_of_numbers("x", np.array(values, float)).bin_names
    assert len(set(names)) == len(names)


def test_close_numbers_get_enough_digits():
    found = bins_of_numbers("x", np.repeat(np.arange(123450, 123490), 10).astype(float))
    assert found.bin_names[0] == "below 123451"
    assert "123459 to 123461" in found.bin_names


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(), st.booleans(), st.text(max_size=3), st.floats()), min_size=1, max_size=80))
def test_names_of_bins_are_distinct_for_any_values(values):
    found = column(values)
    assert len(set(found.bin_names)) == len(found.bin_names)
    assert ((found.bins >= 0) & (found.bins < len(found.bin_names))).all()
    unknown = [found.bin_names[at] == "unknown" for at in found.bins]
    assert unknown == [value is None or value != value for value in values]


def test_texts_among_numbers_keep_the_order_of_numbers():
    found = column([*range(100), "n/a", "n/a", "lost", None])
    assert len(set(found.bins[:100].tolist())) > 20
    assert (np.diff(found.bins[:100]) >= 0).all()
    assert [found.bin_names[at] for at in found.bins[100:]] == ["'n/a'", "'n/a'", "'lost'", "unknown"]


def test_numbers_with_leading_zeros_are_codes():
    codes = [f"{number:05d}" for number in range(100)]
    found = column([*codes, "00007", "7"] * 2)
    assert "'00007'" in found.bin_names
    assert not any(" to " in name for name in found.bin_names)


@pytest.mark.parametrize("values", [[1, 2, 3, 1], ["1", "2", "3", "1"], [1, "2", 3, "1"]])
def test_few_numbers_are_values(values):
    found = column(values)
    assert [found.bin_names[at] for at in found.bins] == ["'1'", "'2'", "'3'", "'1'"]


def test_integers_stay_integers_with_empty_cells(samples_of):
    large = 2**60
    rows = [{"metadata": json.dumps({"session": large + number % 2})} for number in range(8)] + [{"metadata": json.dumps({"other": 1})}]
    (found,) = (one for one in properties(samples_of(rows)) if one.name == "column session")
    assert found.bin_names == [f"'{large}'", f"'{large + 1}'", "another value", "unknown"]


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
def test_recognises_running_numbers(values, running):
    column = pd.Series(list(values), dtype=object)
    assert is_running_number(column, pd.Series([None] * len(column), dtype=object)) == running


def test_running_numbers_may_restart_in_each_split():
    assert is_running_number(pd.Series([*range(50), *range(40)], dtype=object), pd.Series(["train"] * 50 + ["val"] * 40))


def test_names_that_differ_in_punctuation_get_distinct_kinds():
    kinds = distinct_kinds(["a_b", "a_b", "c"], ["a b", "a-b", "c"])
    assert len(set(kinds)) == 3
    assert kinds[2] == "c"
    assert kinds[0].startswith("a_b_")


def test_deviations_from_the_common_value_get_their_own_bins():
    values = np.full(1000, 4096.0)
    values[::40], values[1::100] = 16384.0, 1024.0
    found = bins_of_numbers("pixels", values)
    assert [len(set(found.bins[values == value])) for value in (1024, 4096, 16384)] == [1, 1, 1]
    assert len(set(found.bins)) == 3
    assert found.bin_names[found.bins[0]] == "1.64e+04 or more"


def test_every_property_has_a_name_for_messages(samples_of):
    samples = samples_of([{"metadata": json.dumps({"owner_name": "somebody", "lens_type": "wide"})} for _ in range(3)])
    found = [*properties(samples), *border_properties(np.zeros((3, 32, 32, 3), np.uint8), np.arange(3))]
    assert {one.name for one in found if one.column is None} == set(_WORDS)
    assert {one.words for one in found if one.column is not None} == {"column 'owner_name'", "column 'lens_type'"}
    assert not any("_" in words for words in _WORDS.values())


def test_names_rare_values_but_masks_personal_columns(samples_of):
    samples = samples_of([{"camera": f"ACME {at}", "metadata": json.dumps({"owner": f"person {at}"})} for at in range(60)] + [{}])
    found = {one.name: one for one in properties(samples)}
    assert [found["camera"].value_name(at) for at in (0, 59, 60)] == ["'ACME 0'", "'ACME 59'", "unknown"]
    assert all(found["column owner"].value_name(at).startswith("masked value") for at in range(60))

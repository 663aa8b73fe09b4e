"""Copies with different labels: the closure of all pairs counts, independent of row order and proposed pairs."""

import numpy as np
import pandas as pd
import pytest

from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.tables import PAIRS


def table(*links):
    rows = [{"i": i, "j": j, "relation": relation, "score": score, "group": i, "evidence": "{}"} for i, j, relation, score in links]
    return pd.DataFrame(rows, columns=PAIRS.names)


def parts_of(pairs, codes):
    return [
        [(part.rows.tolist(), part.relation, part.certainty, round(part.weight, 6)) for part in parts]
        for parts in disagreeing_duplicate_sets(pairs, np.array(codes))
    ]


@pytest.mark.parametrize("odd", range(5))
def test_copies_of_one_file_are_one_set_however_they_are_paired(pairs_of_sets, odd):
    pairs = pairs_of_sets([7, 7, 7, 7, 7, 8])
    assert pairs[["i", "j"]].to_numpy().tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    codes = [int(row == odd) for row in range(6)]
    assert parts_of(pairs, codes) == [[([0, 1, 2, 3, 4], "identical_pixels", 1.0, 1.0)]]


def test_unlabelled_copy_joins_others(pairs_of_sets):
    assert parts_of(pairs_of_sets([7, 7, 7]), [-1, 0, 1]) == [[([1, 2], "identical_pixels", 1.0, 1.0)]]


@pytest.mark.parametrize("codes", [[0, 0, 0], [0, -1, 0], [-1, -1, -1]])
def test_copies_with_equal_labels_do_not_conflict(pairs_of_sets, codes):
    assert parts_of(pairs_of_sets([7, 7, 7]), codes) == []


def test_another_shot_of_the_scene_is_not_a_copy():
    assert parts_of(table((0, 1, "same_scene", 1.0)), [0, 1]) == []
    assert parts_of(None, [0, 1]) == []


def test_a_chain_is_as_certain_as_its_weakest_link():
    """0 and 2 were never found to be copies; both are copies of 1."""
    links = table((0, 1, "re_encoded", 0.95), (1, 2, "edited_copy", 0.7))
    assert parts_of(links, [0, 0, 1]) == [[([0, 1, 2], "edited_copy", 0.7, 0.7)]]
    assert parts_of(links, [0, -1, 1]) == [[([0, 2], "edited_copy", 0.7, 0.7)]]
    assert parts_of(links, [0, 1, 1]) == [[([0, 1], "re_encoded", 0.95, 0.25), ([0, 1, 2], "edited_copy", 0.7, 0.7)]]


def test_certainty_of_09_survives_float32():
    assert parts_of(table((0, 1, "edited_copy", np.float32(0.9))), [0, 1])[0][0][2] == 0.9


def test_thousand_copies_have_few_parts():
    draw = np.random.default_rng(0)
    links = [(row // 2, row, "re_encoded", score) for row, score in zip(range(1, 1000), draw.uniform(0.5, 1, 999), strict=True)]
    (parts,) = disagreeing_duplicate_sets(table(*links), draw.integers(0, 3, 1000))
    assert len({part.certainty for part in parts}) <= 51
    assert len(parts[-1].rows) == 1000
    weights = np.zeros(1000)
    for part in parts:
        weights[part.rows] += part.weight
    assert weights.min() >= parts[-1].certainty - 1e-9
    assert weights.max() <= 1 + 1e-9

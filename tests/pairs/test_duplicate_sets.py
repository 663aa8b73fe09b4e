"""Pairs that follow from identical copies, of which only one was compared with other images."""

import numpy as np
import pandas as pd

from audit.pairs.duplicate_sets import duplicate_sets, identical_sets, implied_by_identical_copies
from audit.pairs.groups import group
from audit.tables import PAIRS


def table(*links):
    return pd.DataFrame(
        [{"i": i, "j": j, "relation": relation, "score": score, "group": i, "evidence": "{}"} for i, j, relation, score in links],
        columns=PAIRS.names,
    )


def implied(pairs, splits):
    found = implied_by_identical_copies(pairs, np.array(splits), np.arange(len(splits)))
    return sorted(zip(found["i"].tolist(), found["j"].tolist(), found["relation"], found["score"].tolist(), strict=True))


def test_identical_sets_share_pixels_and_duplicate_sets_share_copies():
    pairs = table((0, 1, "identical_pixels", 1.0), (1, 2, "edited_copy", 0.8), (2, 3, "same_scene", 0.9))
    assert pd.factorize(identical_sets(pairs, 4))[0].tolist() == [0, 0, 1, 2]
    assert pd.factorize(duplicate_sets(pairs, 4))[0].tolist() == [0, 0, 0, 1]


def test_matches_of_one_copy_hold_for_all():
    pairs = table((0, 1, "identical_bytes", 1.0), (0, 2, "edited_copy", 0.8))
    assert implied(pairs, [0, 0, 0]) == [(1, 2, "edited_copy", 0.8)]
    assert implied(pairs, [0, -1, 0]) == []


def test_copies_match_each_other():
    pairs = table((0, 1, "identical_bytes", 1.0), (0, 2, "identical_bytes", 1.0))
    assert implied(pairs, [0, 1, 2]) == [(1, 2, "identical_pixels", 1.0)]


def test_thousand_copies_imply_few_pairs_each():
    pairs = table(*((0, row, "identical_bytes", 1.0) for row in range(1, 1000)), (0, 1000, "edited_copy", 0.8))
    splits = np.arange(1001) % 3
    found = implied_by_identical_copies(pairs, splits, np.arange(1001))
    assert len(found) <= 4 * 1001
    for split in range(3):
        rows = np.flatnonzero(splits[:1000] != split)
        joined = pd.concat([pairs, found])
        crossing = joined[(splits[joined["i"]] == split) | (splits[joined["j"]] == split)]
        assert np.isin(rows, crossing[["i", "j"]].to_numpy()).all()


def test_pairs_without_identical_copies_imply_nothing():
    assert implied(table((0, 1, "edited_copy", 0.9), (1, 2, "edited_copy", 0.9)), [0, 1, 2]) == []
    assert implied(table(), [0, 1]) == []


def test_copy_may_be_ungrouped_if_its_identical_copy_is_in_another_group():
    """Therefore readers of pairs join identical images themselves."""
    first, second = np.array([0, 0, 1]), np.array([1, 2, 3])
    assert group(first, second, np.array([9.0, 4, 4, 4]), np.array(list("abcb"), object)).tolist() == [0, 0, -1]

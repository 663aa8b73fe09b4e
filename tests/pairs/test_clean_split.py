"""Leak-free split: no verified pair remains across splits, the split of highest priority stays whole, and nothing else is dropped."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.pairs.clean_split import propose
from audit.tables import RELATIONS


def tables(splits, edges):
    samples = pd.DataFrame({"sample_id": [f"{number}.jpg" for number in range(len(splits))], "split": pd.Series(splits, dtype=object)})
    pairs = pd.DataFrame(edges, columns=["i", "j", "relation"]).assign(score=0.9)
    return samples, pairs.astype({"i": np.int32, "j": np.int32})


def test_drops_the_copy_outside_test_and_names_its_partner():
    found = propose(*tables(["train", "test", "val", "test"], [(0, 1, "edited_copy"), (2, 3, "re_encoded"), (1, 3, "same_scene")]))
    assert found[["row", "split", "partner"]].to_numpy().tolist() == [[0, "train", "1.jpg"], [2, "val", "3.jpg"]]
    assert found["reason"].iloc[0] == "is an edited copy of '1.jpg' in 'test'"


def test_keep_sets_the_priority():
    samples, pairs = tables(["train", "test"], [(0, 1, "identical_bytes")])
    assert propose(samples, pairs, keep=["train"])["row"].tolist() == [1]


def test_drops_every_copy_of_a_test_image():
    found = propose(*tables(["train", "train", "train", "test", None], [(0, 1, "identical_bytes"), (0, 2, "identical_pixels"), (1, 3, "re_encoded")]))
    assert found["row"].tolist() == [0, 1, 2]


def test_names_the_most_certain_of_the_closest_copies():
    samples, pairs = tables(["train", "test", "test", "test"], [(0, 1, "re_encoded"), (0, 2, "re_encoded"), (0, 3, "edited_copy")])
    assert propose(samples, pairs.assign(score=[0.6, 0.8, 0.9]))["partner"].tolist() == ["2.jpg"]
    assert propose(samples, pairs.assign(score=[0.8, 0.6, 0.9]))["partner"].tolist() == ["1.jpg"]


def test_drops_nothing_without_leaks():
    assert propose(*tables(["train", "train"], [(0, 1, "identical_bytes")])).empty
    assert list(propose(*tables([], []))) == ["row", "sample_id", "split", "partner", "reason"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["train", "val", "test", "extra", None]), min_size=2, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from(RELATIONS)), max_size=15),
)
def test_no_pair_remains_across_splits(splits, edges):
    edges = [(min(i, j), max(i, j), relation) for i, j, relation in edges if i != j and max(i, j) < len(splits)]
    samples, pairs = tables(splits, edges)
    found = propose(samples, pairs)
    dropped = set(found["row"])
    assert found["row"].is_unique
    assert not any(splits[row] in ("test", None) for row in dropped)
    left = [(i, j) for i, j, _ in edges if i not in dropped and j not in dropped]
    assert all(splits[i] == splits[j] or None in (splits[i], splits[j]) for i, j in left)

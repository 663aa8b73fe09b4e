import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.predictions.folds import keys_of, stratified_group_folds


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 20)), max_size=60), st.integers(2, 5))
def test_group_is_never_split(rows, folds):
    labels = np.array([label for label, _ in rows], np.int32)
    groups = np.array([group for _, group in rows], np.int64)
    fold = stratified_group_folds(labels, groups, folds=folds, seed=1)
    assert ((fold >= 0) & (fold < folds)).all()
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    used = min(folds, len(np.unique(groups)))
    assert np.unique(fold).tolist() == list(range(used)) or used < folds


def test_classes_are_spread_evenly():
    """No fold has more than 1.25 times its even share of a class, rounded up."""
    labels = np.repeat([0, 1, 2], [100, 13, 5]).astype(np.int32)
    for seed in range(20):
        fold = stratified_group_folds(labels, np.arange(118), folds=5, seed=seed)
        counts = [np.bincount(fold[labels == label], minlength=5) for label in range(3)]
        assert [held.max() for held in counts] <= [25, 4, 1]
        assert counts[0].min() >= 8
        assert counts[2].tolist() == [1] * 5


@pytest.mark.parametrize("change", ["one added", "1% added", "1% removed", "1% replaced", "another order"])
@pytest.mark.parametrize(("rows", "classes"), [(630, 30), (2000, 10), (5000, 500)])
def test_small_change_moves_few(rows, classes, change):
    """One image added to 630 moved 480 of them to another fold, and changed the findings about them."""
    random = np.random.default_rng(rows)
    images = np.array([random.bytes(20).hex() for _ in range(rows + rows // 100)], "S40")
    labels = random.integers(0, classes, len(images)).astype(np.int32)
    few = rows // 100
    after = {
        "one added": np.arange(rows + 1),
        "1% added": np.arange(rows + few),
        "1% removed": np.arange(few, rows),
        "1% replaced": np.arange(few, rows + few),
        "another order": random.permutation(rows),
    }[change]
    fold, other = (
        dict(zip(part.tolist(), stratified_group_folds(labels[part], np.arange(len(part)), keys=keys_of(images[part])).tolist(), strict=True))
        for part in (np.arange(rows), after)
    )
    both = fold.keys() & other.keys()
    moved = sum(fold[row] != other[row] for row in both) / len(both)
    assert moved <= {"one added": 0.005, "another order": 0.0}.get(change, 0.03)


def test_two_images_of_a_class_are_in_different_folds():
    labels = np.array([0] * 50 + [1, 1], np.int32)
    fold = stratified_group_folds(labels, np.arange(52), folds=5)
    assert fold[50] != fold[51]


def test_seed_changes_folds():
    labels = np.zeros(100, np.int32)
    first, again, other = (stratified_group_folds(labels, np.arange(100), seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()

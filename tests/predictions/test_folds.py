import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.predictions.folds import stratified_group_folds


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 20)), max_size=60), st.integers(2, 5))
def test_group_is_never_split(rows, folds):
    labels = np.array([label for label, _ in rows], np.int32)
    groups = np.array([group for _, group in rows], np.int64)
    fold = stratified_group_folds(labels, groups, folds=folds, seed=1)
    assert ((fold >= 0) & (fold < folds)).all()
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1


def test_classes_are_spread_evenly():
    labels = np.repeat([0, 1], [100, 13]).astype(np.int32)
    fold = stratified_group_folds(labels, np.arange(113), folds=5)
    assert np.bincount(fold[labels == 0]).tolist() == [20] * 5
    assert set(np.bincount(fold[labels == 1], minlength=5).tolist()) == {2, 3}
    assert np.ptp(np.bincount(fold)) <= 1


def test_two_images_of_a_class_are_in_different_folds():
    labels = np.array([0] * 50 + [1, 1], np.int32)
    fold = stratified_group_folds(labels, np.arange(52), folds=5)
    assert fold[50] != fold[51]


def test_seed_changes_folds():
    labels = np.zeros(100, np.int32)
    first, again, other = (stratified_group_folds(labels, np.arange(100), seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()

"""Cross-validation folds that keep the copies of an image together and every class spread evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stratified_group_folds(labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int64], *, folds: int = 5, seed: int = 0) -> npt.NDArray[np.int8]:
    """Give every row a fold, so that rows of one group share it and each class is spread as evenly as whole groups allow.

    Groups are dealt, the largest first, to the fold that holds the fewest rows of the group's most frequent class (ties: the fewest rows, then
    the lowest fold). A copy of a mislabelled image therefore never trains the model that judges it.

    Args:
        labels: int ``[n]`` class codes; -1 = unlabelled, dealt as one more class.
        groups: int ``[n]``; equal = one group.
        folds: how many, 2 to 127.
        seed: decides which groups of equal size come first.

    Returns:
        int8 ``[n]`` in ``[0, folds)``. A class with fewer groups than folds is absent from some folds.
    """
    if not len(labels):
        return np.empty(0, np.int8)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    # A group's class is that of its first row unless another is more frequent; single rows, nearly all, need no count.
    classes = labels[order[starts[:-1]]].astype(np.int64)
    for large in np.flatnonzero(sizes > 2):
        values, counts = np.unique(labels[order[starts[large] : starts[large + 1]]], return_counts=True)
        classes[large] = values[counts.argmax()]
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    dealt = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of_group = np.empty(len(sizes), np.int8)
    rows_in_fold = np.zeros(folds, np.int64)
    held = np.zeros((int(classes.max()) + 2, folds), np.int64)
    for one in dealt.tolist():
        in_class = held[classes[one]]
        fold = int(np.lexsort((rows_in_fold, in_class))[0])
        fold_of_group[one] = fold
        in_class[fold] += sizes[one]
        rows_in_fold[fold] += sizes[one]
    return fold_of_group[group]

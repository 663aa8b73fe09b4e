"""Cross-validation folds that keep copies together and spread every class evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError


def stratified_group_folds(labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int64], *, folds: int = 5, seed: int = 0) -> npt.NDArray[np.int8]:
    """Assign every row to a fold, so that the rows of a group share it and each class is spread as evenly as whole groups allow.

    Groups are assigned, the largest first, to the fold with the fewest rows of the group's most frequent class (ties: the fewest rows, then the
    lowest fold). A copy of a mislabelled image therefore never trains the model that judges it.

    Args:
        labels: int ``[n]`` class codes; -1 = unlabelled, treated as one more class.
        groups: int ``[n]`` group of each row.
        folds: number of folds, 2 to 127.
        seed: seed of the order of groups of equal size.

    Returns:
        int8 ``[n]`` in ``[0, folds)``. A class with fewer groups than folds is absent from some folds.
    """
    if not len(labels):
        return np.empty(0, np.int8)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    # A group's class is its most frequent one, else that of its first row; nearly all groups are single rows and need no count.
    classes = labels[order[starts[:-1]]].astype(np.int64)
    for large in np.flatnonzero(sizes > 2):
        values, counts = np.unique(labels[order[starts[large] : starts[large + 1]]], return_counts=True)
        classes[large] = values[counts.argmax()]
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    by_size = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of_group = np.empty(len(sizes), np.int8)
    rows_in_fold = np.zeros(folds, np.int64)
    held = np.zeros((int(classes.max()) + 2, folds), np.int64)
    for one in by_size.tolist():
        in_class = held[classes[one]]
        fold = int(np.lexsort((rows_in_fold, in_class))[0])
        fold_of_group[one] = fold
        in_class[fold] += sizes[one]
        rows_in_fold[fold] += sizes[one]
    return fold_of_group[group]


def folds_of(
    labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_], folds: int, seed: int
) -> npt.NDArray[np.int8]:
    """Return the fold of every labelled row with an embedding and of its unlabelled copies; -1 for all others.

    Args:
        labels: int ``[n]`` class codes, or the code of one of several labels; -1 = unlabelled.
        groups: int ``[n]`` group of each row.
        usable: ``[n]`` rows with an embedding.
        folds: number of folds; fewer if there are fewer groups.
        seed: as for `stratified_group_folds`.

    Raises:
        AuditError: no row is labelled and usable, or all such rows are in one group.
    """
    train = np.flatnonzero(usable & (labels >= 0))
    numbers = np.unique(groups[train])
    kept = min(folds, len(numbers))
    if kept < 2:
        problem = "all labelled images are copies of one another" if len(train) else "no labelled image could be read"
        raise AuditError("labels", problem, "predictions need at least two different images")
    fold = np.full(len(labels), -1, np.int8)
    fold[train] = stratified_group_folds(labels[train], groups[train], folds=kept, seed=seed)
    fold_of_group = np.empty(len(numbers), np.int8)
    fold_of_group[np.searchsorted(numbers, groups[train])] = fold[train]
    free = np.flatnonzero(usable & (labels < 0))
    place = np.minimum(np.searchsorted(numbers, groups[free]), len(numbers) - 1)
    copies = numbers[place] == groups[free]
    fold[free[copies]] = fold_of_group[place[copies]]
    return fold


def order_of_images(
    images: npt.NDArray[np.bytes_], labels: npt.NDArray[np.integer], classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows sorted by image, and the rank of each class by its first image."""
    by_image = np.argsort(images, kind="stable")
    present, first = np.unique(labels[by_image], return_index=True)
    first_image = np.full(classes, len(labels))
    first_image[present[present >= 0]] = first[present >= 0]
    place = np.empty(classes, np.int64)
    place[np.argsort(first_image, kind="stable")] = np.arange(classes)
    rank = np.append(place, classes)[labels]
    return np.lexsort((rank, images)).astype(np.int64), place  # the rank orders copies with different labels


def numbered(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number groups in order of first occurrence."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[group], dtype=np.int64)

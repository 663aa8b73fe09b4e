"""Cross-validation folds that keep copies together and spread every class evenly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError

_SLACK = 1.25
"""A fold takes this many times its even share of a class: with no slack, one more image would displace many others."""


def stratified_group_folds(
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
    *,
    folds: int = 5,
    seed: int = 0,
    keys: npt.NDArray[np.uint64] | None = None,
) -> npt.NDArray[np.int8]:
    """Assign every row to a fold, so that the rows of a group share it, each class is spread evenly, and a small change of the rows moves few.

    Each group ranks the folds by a hash of its content and of the fold (rendezvous hashing, Thaler and Ravishankar 1998), and takes the first one
    that is not full for the group's most frequent class (bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018). Groups choose in the order of their
    size and content, which other groups do not change. A copy of a mislabelled image never trains the model that judges it.

    Args:
        labels: int ``[n]`` class codes; -1 = unlabelled, treated as one more class.
        groups: int ``[n]`` group of each row.
        folds: number of folds, 2 to 127.
        seed: part of the hash.
        keys: uint64 ``[n]``, a hash of each row's content; the row numbers by default.

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
    key = np.minimum.reduceat((np.arange(len(labels), dtype=np.uint64) if keys is None else keys)[order], starts[:-1])
    wanted = np.argsort(_mixed(key[:, None] + _mixed(np.arange(folds, dtype=np.uint64) + np.uint64(seed * 128))), axis=1)
    rows = np.bincount(classes + 1, weights=sizes, minlength=int(classes.max()) + 2)
    most = np.where(rows <= folds, 1, np.ceil(_SLACK * rows / folds))
    fold_of_group = np.empty(len(sizes), np.int8)
    held = np.zeros((len(rows), folds), np.int64)
    for one in np.lexsort((_mixed(key + np.uint64(seed)), -sizes)).tolist():
        in_class = held[classes[one] + 1]
        ranked = wanted[one]
        full = in_class[ranked] + sizes[one] > most[classes[one] + 1]
        fold = int(ranked[in_class[ranked].argmin() if full.all() else full.argmin()])
        fold_of_group[one] = fold
        in_class[fold] += sizes[one]
    for empty in np.setdiff1d(np.arange(min(folds, len(sizes))), fold_of_group):  # only in tiny datasets
        groups_in = np.bincount(fold_of_group, minlength=folds)
        fold_of_group[np.flatnonzero(fold_of_group == groups_in.argmax())[-1]] = empty
    return fold_of_group[group]


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return hashes of 64-bit numbers (the finalizer of SplitMix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def keys_of(images: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """Return a hash of each image's identity, ``[n]``."""
    width = images.dtype.itemsize
    padded = np.zeros((len(images), 8 * -(-width // 8)), np.uint8)
    padded[:, :width] = np.frombuffer(images.tobytes(), np.uint8).reshape(len(images), width)
    found = np.zeros(len(images), np.uint64)
    for part in padded.view(np.uint64).T:
        found = _mixed(found + part)
    return found


def folds_of(
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    folds: int,
    seed: int,
    keys: npt.NDArray[np.uint64] | None = None,
) -> npt.NDArray[np.int8]:
    """Return the fold of every labelled row with an embedding and of its unlabelled copies; -1 for all others.

    Args:
        labels: int ``[n]`` class codes, or the code of one of several labels; -1 = unlabelled.
        groups: int ``[n]`` group of each row.
        usable: ``[n]`` rows with an embedding.
        folds: number of folds; fewer if there are fewer groups.
        seed: as for `stratified_group_folds`.
        keys: as for `stratified_group_folds`.

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
    fold[train] = stratified_group_folds(labels[train], groups[train], folds=kept, seed=seed, keys=None if keys is None else keys[train])
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

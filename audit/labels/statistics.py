"""Confusion of classes and label quality per class, from arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.io.blocks import blocks
from audit.labels.noise import judged_rows

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

_ROUNDING = 1e-6
"""Tolerance at a class's threshold, and half of the smallest threshold: both as in cleanlab."""

Z = 1.96
"""Half width of a 95% interval in standard errors."""

_LEAST_SHARE = 1e-9
"""Smallest threshold of overlap: classes that are never confused do not overlap even at threshold 0."""


def confusion_matrix(given: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int) -> csr_array:
    """Return the confusion matrix of given (row) and predicted (column), int64 ``[c, c]``; images where either is -1 are skipped.

    Sparse: each class is confused with few others, and a dense matrix of 22,000 classes would take 4 GB.
    """
    from scipy.sparse import csr_array

    both = (given >= 0) & (predicted >= 0)
    return csr_array((np.ones(int(both.sum()), np.int64), (given[both], predicted[both])), shape=(classes, classes))


def shares_of(counts: csr_array) -> csr_array:
    """Return counts as shares of their row, ``[c, c]``."""
    from scipy.sparse import csr_array

    total = np.maximum(counts.sum(1), 1)
    return csr_array((counts.data / np.repeat(total, np.diff(counts.indptr)), counts.indices, counts.indptr), shape=counts.shape)


def pairs_of_classes(counts: csr_array, classes: list[str], *, min_images: int = 1) -> pd.DataFrame:
    """Return every directed pair of confused classes.

    Args:
        counts: confusion matrix, as `confusion_matrix` returns it.
        classes: names of its rows and columns.
        min_images: judged images a class needs.

    Returns:
        Columns ``label`` (given), ``predicted``, ``images`` (judged images of the label), ``confused`` (images predicted as the other class),
        ``share`` with its 95% interval ``low`` and ``high``, ``share_back`` (of the other direction); largest share first.
    """
    total, cells = counts.sum(1), counts.tocoo()
    first, second = (side.astype(np.int64) for side in cells.coords)
    kept = (first != second) & (total[first] >= min_images) & (cells.data > 0)
    first, second, confused = first[kept], second[kept], cells.data[kept]
    share = confused / total[first]
    order = np.lexsort((second, first, -confused, -share))
    first, second, confused, share = first[order], second[order], confused[order], share[order]
    low, high = wilson(confused.astype(np.float64), total[first].astype(np.float64))
    names = np.array(classes, dtype=object)
    return pd.DataFrame(
        {
            "label": names[first],
            "predicted": names[second],
            "images": total[first],
            "confused": confused,
            "share": share,
            "low": low,
            "high": high,
            "share_back": np.asarray(counts[second, first]) / np.maximum(total[second], 1),
        }
    )


def quality_of_classes(quality: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Estimate the share of wrong labels of every class.

    Args:
        quality: columns of ``audit.tables.LABEL_QUALITY``; those of the interval may be missing or NaN, as in runs of older versions.
        classes: names of the columns.

    Returns:
        One row per class, in order: ``label``, ``n`` (judged images), ``estimated_error_rate`` (mean probability, NaN if ``n`` is 0),
        ``least_error_rate`` (mean lower probability), ``low`` and ``high`` (95% interval: the means of the lower and upper probabilities, widened by
        the chance of every image).
    """
    given = quality["given"].to_numpy()
    wrong, (low, high) = quality["probability_wrong"].to_numpy(np.float64), ends_of(quality)
    judged = np.isfinite(wrong) & (given >= 0)
    images = np.bincount(given[judged], minlength=len(classes)).astype(np.int64)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = np.bincount(given[judged], weights=values[judged], minlength=len(classes))
        return np.asarray(np.divide(total, images, out=np.full(len(classes), np.nan), where=images > 0), dtype=np.float64)

    half = Z * np.sqrt(mean(high * (1 - high)) / np.maximum(images, 1))
    least, most = np.where(images > 0, np.clip(mean(low) - half, 0, 1), 0.0), np.where(images > 0, np.clip(mean(high) + half, 0, 1), 1.0)
    return pd.DataFrame(
        {"label": classes, "n": images, "estimated_error_rate": mean(wrong), "least_error_rate": mean(low), "low": least, "high": most}
    )


def ends_of(quality: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lower and the upper ends of the probabilities of a wrong label, ``[n]`` each; the probability itself where they are unknown.

    Args:
        quality: columns of ``audit.tables.LABEL_QUALITY``.
    """
    wrong = quality["probability_wrong"].to_numpy(np.float64)
    low, high = (quality[name].to_numpy(np.float64) if name in quality else wrong for name in ("probability_low", "probability_high"))
    return np.where(np.isfinite(low), low, wrong), np.where(np.isfinite(high), high, wrong)


def wilson(successes: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], z: float = Z) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the two ends of Wilson's score interval of a share (Wilson 1927); 0 and 1 without trials."""
    n = np.maximum(trials, 1e-9)
    share, square = successes / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return np.where(trials > 0, np.clip(middle - half, 0, 1), 0.0), np.where(trials > 0, np.clip(middle + half, 0, 1), 1.0)


def overlap_groups(share: csr_array, threshold: float) -> list[list[int]]:
    """Return groups of classes in which every two overlap; chains do not form a group.

    Args:
        share: ``[c, c]`` share of the row's images predicted as the column.
        threshold: smallest mean share of both directions, above 0.

    Returns:
        Disjoint groups of at least two classes, grown from the strongest pair down.
    """
    from scipy.sparse import triu

    both = triu((share + share.T) / 2, 1, format="coo")
    enough = both.data >= max(threshold, _LEAST_SHARE)
    first, second, strength = both.coords[0][enough].tolist(), both.coords[1][enough].tolist(), both.data[enough]
    overlap = set(zip(first, second, strict=True))
    groups = {index: [index] for index in {*first, *second}}
    for at in np.lexsort((second, first, -strength)).tolist():
        left, right = groups[first[at]], groups[second[at]]
        if left is not right and all((min(one, other), max(one, other)) in overlap for one in left for other in right):
            left.extend(right)
            groups.update(dict.fromkeys(right, left))
    found = {id(group): sorted(group) for group in groups.values() if len(group) > 1}
    return sorted(found.values())


def taken_for(given: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], wrong: npt.NDArray[np.floating], classes: int) -> csr_array:
    """Return the share of each class's images (row) that are predicted as another class (column) although their label is right, ``[c, c]``.

    Args:
        given: ``[n]`` columns of the labels; -1 = none.
        predicted: ``[n]`` columns of the predictions; -1 = none.
        wrong: ``[n]`` probability that the label is wrong; NaN = not judged.
        classes: number of classes.
    """
    from scipy.sparse import csr_array

    both = (given >= 0) & (predicted >= 0)
    images = np.maximum(np.bincount(given[both], minlength=classes), 1)
    other = both & (given != predicted)
    right = (1 - np.nan_to_num(wrong[other].astype(np.float64))) / images[given[other]]
    return csr_array((right, (given[other], predicted[other])), shape=(classes, classes))


def label_health(joint: csr_array) -> float:
    """Return cleanlab's overall label health, 0..1: the share of the confident joint on its diagonal."""
    total = joint.sum()
    return float(joint.diagonal().sum() / total) if total else 1.0


def confident_joint(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> csr_array:
    """Return cleanlab's confident joint of given label and true class (Northcutt, Jiang & Chuang 2021).

    An image counts for the class whose probability reaches the mean probability of images with that label; for the most probable of several.

    Args:
        predictions: float ``[n, c]``; NaN rows are skipped. Read in blocks.
        given: int ``[n]`` columns of the labels; -1 = none.

    Returns:
        float64 ``[c, c]``, given label (row) and true class (column), scaled to the judged images of each label.
    """
    from scipy.sparse import csr_array

    classes = predictions.shape[1]
    rows = judged_rows(predictions, given)
    images = np.bincount(given[rows], minlength=classes)
    own = np.bincount(given[rows], weights=np.asarray(predictions[rows, given[rows]], dtype=np.float64), minlength=classes)
    threshold = np.where(images > 0, np.maximum(own / np.maximum(images, 1), 2 * _ROUNDING), 2).astype(np.float32)
    counted = csr_array((classes, classes), dtype=np.int64)
    for part in blocks(rows, classes):
        block = np.asarray(predictions[part], dtype=np.float32)
        reached = block >= threshold - np.float32(_ROUNDING)
        several = reached.sum(1)
        true = np.where(several > 1, block.argmax(1), reached.argmax(1))
        true[several == 0] = -1
        counted += confusion_matrix(given[part], true, classes)
    # As in cleanlab, every class with labels has at least one correct label.
    lacking = np.flatnonzero((images > 0) & (counted.diagonal() == 0))
    counted += confusion_matrix(lacking, lacking, classes)
    return csr_array(shares_of(counted) * images[:, None])

"""Statistics of classes: which are taken for which, and how good the labels of each are. Arrays in, arrays and frames out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.labels.label_noise import judged_rows

if TYPE_CHECKING:
    import numpy.typing as npt

_CONFIDENT_CELLS = 200_000_000
"""The confident joint is counted on at most this many probabilities (0.8 GB), of rows evenly spaced."""


def confusion_matrix(given: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int) -> npt.NDArray[np.int64]:
    """Count given (row) against predicted (column), int64 ``[c, c]``; a row of the data where either is -1 is left out."""
    both = (given >= 0) & (predicted >= 0)
    cells = given[both].astype(np.int64) * classes + predicted[both]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def pairs_of_classes(counts: npt.NDArray[np.int64], classes: list[str], *, min_images: int = 1) -> pd.DataFrame:
    """Return every pair of which images of the one class are taken for the other.

    Args:
        counts: as `confusion_matrix` returns.
        classes: names of its rows and columns.
        min_images: judged images a class needs.

    Returns:
        Columns ``label`` (given), ``predicted``, ``images`` (judged ones of the label), ``confused`` (of them), ``share`` with the ends ``low`` and
        ``high`` of its 95% interval, ``share_back`` (of the other direction); largest share first.
    """
    total = counts.sum(1)
    share = counts / np.maximum(total, 1)[:, None]
    first, second = np.nonzero(counts)
    kept = (first != second) & (total[first] >= min_images)
    first, second = first[kept], second[kept]
    order = np.lexsort((second, first, -counts[first, second], -share[first, second]))
    first, second = first[order], second[order]
    low, high = wilson(counts[first, second].astype(np.float64), total[first].astype(np.float64))
    names = np.array(classes, dtype=object)
    return pd.DataFrame(
        {
            "label": names[first],
            "predicted": names[second],
            "images": total[first],
            "confused": counts[first, second],
            "share": share[first, second],
            "low": low,
            "high": high,
            "share_back": share[second, first],
        }
    )


def quality_of_classes(wrong: npt.NDArray[np.floating], given: npt.NDArray[np.integer], classes: list[str]) -> pd.DataFrame:
    """Estimate the share of wrong labels of every class.

    Args:
        wrong: ``[n]`` probability that the label is wrong; NaN = not judged.
        given: ``[n]`` columns of the labels; -1 = none.
        classes: names.

    Returns:
        One row per class, in their order: ``label``, ``n`` (judged images), ``estimated_error_rate`` (mean probability, NaN where ``n`` is 0),
        ``low`` and ``high`` (95%: Wilson's score interval of that share).
    """
    judged = np.isfinite(wrong) & (given >= 0)
    images = np.bincount(given[judged], minlength=len(classes)).astype(np.int64)
    errors = np.bincount(given[judged], weights=wrong[judged].astype(float), minlength=len(classes))
    low, high = wilson(errors.astype(np.float64), images.astype(np.float64))
    rate = np.divide(errors, images, out=np.full(len(classes), np.nan), where=images > 0)
    return pd.DataFrame({"label": classes, "n": images, "estimated_error_rate": rate, "low": low, "high": high})


def wilson(successes: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], z: float = 1.96) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the two ends of Wilson's score interval of a share (Wilson 1927); 0 and 1 where there are no trials."""
    n = np.maximum(trials, 1e-9)
    share, square = successes / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return np.where(trials > 0, np.clip(middle - half, 0, 1), 0.0), np.where(trials > 0, np.clip(middle + half, 0, 1), 1.0)


def overlap_groups(share: npt.NDArray[np.float64], threshold: float) -> list[list[int]]:
    """Return groups of classes of which every two overlap: no chains, where only neighbors do.

    Args:
        share: ``[c, c]`` share of the row's images taken for the column.
        threshold: of the mean of both directions.

    Returns:
        Groups of two and more, disjoint, grown from the strongest pair down.
    """
    both = (share + share.T) / 2
    np.fill_diagonal(both, 0)
    first, second = np.nonzero(np.triu(both >= threshold))
    order = np.lexsort((second, first, -both[first, second]))
    groups = {index: [index] for index in range(len(share))}
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        left, right = groups[a], groups[b]
        if left is not right and (both[np.ix_(left, right)] >= threshold).all():
            left.extend(right)
            groups.update(dict.fromkeys(right, left))
    found = {id(group): sorted(group) for group in groups.values() if len(group) > 1}
    return sorted(found.values())


def overlapping(counts: npt.NDArray[np.int64], confusable: float) -> npt.NDArray[np.bool_]:
    """Return bool ``[c, c]``, symmetric: which classes' images are predicted as each other's in at least this share, both ways."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    return np.asarray(np.minimum(share, share.T) >= max(confusable, 1e-9))


def label_health(joint: npt.NDArray[np.float64]) -> float:
    """Return cleanlab's overall label health: the share of labels that the joint of given and true classes puts on its diagonal, 0..1."""
    from cleanlab.dataset import overall_label_health_score

    total = joint.sum()
    return float(overall_label_health_score(num_examples=round(total), joint=joint / total, verbose=False)) if total else 1.0


def confident_joint(predictions: npt.NDArray[np.float32], given: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return cleanlab's confident joint, given label (row) against true class (column), ``[c, c]``, scaled to the judged images of each label."""
    classes = predictions.shape[1]
    rows = judged_rows(predictions, given)
    if not len(rows):
        return np.zeros((classes, classes))
    from cleanlab.count import compute_confident_joint  # takes over a second

    some = rows[:: max(1, -(-len(rows) * classes // _CONFIDENT_CELLS))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that no row is labelled with: ordinary here
        joint = np.asarray(compute_confident_joint(given[some], np.asarray(predictions[some]), calibrate=False), dtype=np.float64)
    total = np.bincount(given[rows], minlength=classes)
    return np.asarray(joint * (total / np.maximum(joint.sum(1), 1))[:, None])

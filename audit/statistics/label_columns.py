"""Association of a property with the label: columns that restate the label, and columns or properties that predict most classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.statistics.multiple_testing import concentration_p

if TYPE_CHECKING:
    import numpy.typing as npt

_LABEL = re.compile("label|class|categor|synset|wnid|target", re.IGNORECASE)
_ALWAYS = 0.99
"""Share of images where one must determine the other; allows for a few typing errors."""


class LabelAssociation(NamedTuple):
    """How well a property and the label determine each other."""

    share: float
    """Share of images, 0..1, with the commonest value of their class, or of the commonest class of their value, whichever is larger."""
    above: npt.NDArray[np.float64]
    """``[c]`` by how much the class's share of its most distinctive value exceeds that of all others, -1..1."""
    value: npt.NDArray[np.int64]
    """``[c]`` that value."""
    p: npt.NDArray[np.float64]
    """``[c]`` hypergeometric p-value of that value in the class, times the number of values (Bonferroni), 0..1."""


def label_association(values: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], count: int) -> LabelAssociation:
    """Measure how well values determine the label.

    Args:
        values: ``[n]`` code of each image's value; -1 = unknown, which counts as a value.
        classes: ``[n]`` class codes, 0 to count - 1, each present.
        count: number of classes, at least 2.
    """
    known, values = np.unique(values, return_inverse=True)
    of_class, of_value = np.bincount(classes, minlength=count), np.bincount(values)
    pairs, own = np.unique(classes * len(of_value) + values, return_counts=True)
    of, value = np.divmod(pairs, len(of_value))
    above = own / of_class[of] - (of_value[value] - own) / (len(values) - of_class[of])
    order = np.lexsort((value, -above, of))
    furthest = order[np.unique(of[order], return_index=True)[1]]
    p = concentration_p(own[furthest], of_class, of_value[value[furthest]], len(values)) * len(of_value)
    most, commonest = np.zeros(count, np.int64), np.zeros(len(of_value), np.int64)
    np.maximum.at(most, of, own)
    np.maximum.at(commonest, value, own)
    # Values with an image or two each determine the label trivially.
    repeated = len(of_value) <= len(values) / 2
    share = max(most.sum(), commonest.sum() if repeated else 0) / len(values)
    return LabelAssociation(share, above[furthest], known[value[furthest]], np.minimum(p, 1))


def restates(column: str | None, association: LabelAssociation) -> bool:
    """Return whether a column repeats the label, coarser or finer: its name says so, and one determines the other for nearly all images.

    >>> association = LabelAssociation(1.0, np.ones(9), np.arange(9), np.zeros(9))
    >>> restates("coarse_label", association), restates("camera", association), restates(None, association)
    (True, False, False)

    Args:
        column: name of the column; None for a property of files.
        association: of the column with the label.
    """
    return column is not None and bool(_LABEL.search(column)) and association.share >= _ALWAYS


def most_classes(given: npt.NDArray[np.bool_]) -> bool:
    """Return whether enough classes are predicted to report the dataset once: at least half of them, and at least three (a convention).

    >>> most_classes(np.array([True, True, True, False])), most_classes(np.array([True, True]))
    (True, False)
    """
    return int(given.sum()) >= max(3, len(given) / 2)

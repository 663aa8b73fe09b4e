"""What tells the label by its values: columns that restate it, and columns and properties of files that give most classes away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.statistics.multiple_testing import concentration_p

if TYPE_CHECKING:
    import numpy.typing as npt

_LABEL = re.compile("label|class|categor|synset|wnid|target", re.IGNORECASE)
_ALWAYS = 0.99
"""Share of images of which one must tell the other: a few typing errors change nothing."""


class LabelTold(NamedTuple):
    """How far a column, or a property of files, and the label tell each other."""

    share: float
    """Of images, 0..1: those with the commonest value of their class, or those of the commonest class of their value, whichever are more."""
    above: npt.NDArray[np.float64]
    """``[c]`` how far a class's share of one value is above that of all others, of the value where it is furthest; -1..1."""
    value: npt.NDArray[np.int64]
    """``[c]`` that value."""
    p: npt.NDArray[np.float64]
    """``[c]`` how likely chance holds so many of the class in that value, times the number of values there are; 0..1."""


def label_told(values: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], count: int) -> LabelTold:
    """Measure how far values tell the label of images.

    Args:
        values: ``[n]`` a number per value, -1 where it is unknown, which is a value too.
        classes: ``[n]`` class codes, 0 to count - 1, each of which there is.
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
    # Where values hold an image or two each, they tell its label by being few: that says nothing.
    repeated = len(of_value) <= len(values) / 2
    return LabelTold(max(most.sum(), commonest.sum() if repeated else 0) / len(values), above[furthest], known[value[furthest]], np.minimum(p, 1))


def restates(column: str | None, told: LabelTold) -> bool:
    """Tell whether a column is the label once more, coarser or finer: it is called like one, and one tells the other of nearly all images.

    >>> told = LabelTold(1.0, np.ones(9), np.arange(9), np.zeros(9))
    >>> restates("coarse_label", told), restates("camera", told), restates(None, told)
    (True, False, False)

    Args:
        column: its name; None for a property of files.
        told: how far it tells the label.
    """
    return column is not None and bool(_LABEL.search(column)) and told.share >= _ALWAYS


def most_classes(given: npt.NDArray[np.bool_]) -> bool:
    """Tell whether so many classes are given away that it is one matter of the dataset: half of them, and three or more (a convention).

    >>> most_classes(np.array([True, True, True, False])), most_classes(np.array([True, True]))
    (True, False)
    """
    return int(given.sum()) >= max(3, len(given) / 2)

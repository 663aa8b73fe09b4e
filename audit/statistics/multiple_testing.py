"""Which of many tests are discoveries: p-values adjusted so that, of all that is reported, only a stated share is expected to be chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def share_p(successes: npt.ArrayLike, trials: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """Return how likely so many successes or more are, where each trial succeeds with the given share: the binomial's tail; 1 without successes.

    Args:
        successes: of any shape; sums of probabilities too, for which the tail runs between those of the whole numbers around (the incomplete beta
            function). Such sums vary less than counts do, so the p-value is too large rather than too small.
        trials: of the same shape.
        share: above 0 and below 1; at 0 and 1 nothing is above it by chance.
    """
    from scipy.special import betainc

    count, of = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    some = (count > 0) & (of >= count)
    return np.where(some, betainc(np.where(some, count, 1), np.where(some, of - count + 1, 1), share), 1.0)


def concentration_p(
    own: npt.NDArray[np.int64], of_class: npt.NDArray[np.int64], of_value: npt.NDArray[np.int64], total: int
) -> npt.NDArray[np.float64]:
    """Return one-sided p-values (hypergeometric) that a class holds so many of the pictures with a value by chance.

    Args:
        own: pictures of the class with the value; all three of one shape, which that of the p-values is.
        of_class: pictures of the class.
        of_value: pictures with the value.
        total: pictures of the dataset.
    """
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.sf(own - 1, total, of_class, of_value), np.float64)


def adjusted_p(p: npt.ArrayLike, large: npt.ArrayLike, *, tests: int | None = None, method: Literal["bh", "by"] = "bh") -> npt.NDArray[np.float64]:
    """Return p-values adjusted for the number of tests: what is at most the wanted false discovery rate is to be reported.

    An effect that is too small to report is no discovery, so its p-value counts as 1 before the adjustment. Were it dropped afterwards, true but
    small effects would count among the discoveries, raise the p-value that is allowed, and leave behind the chance that it let in.

    Args:
        p: p-values of any shape.
        large: of the same shape, which effects are large enough to be reported.
        tests: how many tests there are, those that ``p`` leaves out because their p-value is 1 included; by default as many as ``p`` has.
        method: ``bh`` (Benjamini & Hochberg 1995), or ``by`` (Benjamini & Yekutieli 2001) where tests may depend on each other in any way.

    Returns:
        Of the same shape, 0..1; 1 where an effect is not large enough.
    """
    counted = np.where(large, np.clip(np.asarray(p, np.float64), 0, 1), 1.0)
    count = max(tests or 0, counted.size)
    order = np.argsort(counted, axis=None, kind="stable")
    times = count / np.arange(1, counted.size + 1)
    if method == "by":
        times *= np.sum(1 / np.arange(1, count + 1))
    adjusted = np.empty(counted.size)
    adjusted[order] = np.minimum.accumulate((counted.ravel()[order] * times)[::-1])[::-1]
    return np.minimum(adjusted, 1).reshape(counted.shape)

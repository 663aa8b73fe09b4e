"""P-values of shares and counts, and their adjustment to control the false discovery rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def share_p(successes: npt.ArrayLike, trials: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """Return the binomial tail: the probability of at least ``successes`` in ``trials`` at the given share; 1 without successes.

    Args:
        successes: any shape. May be sums of probabilities: the incomplete beta function interpolates the tail. Such sums vary less than counts,
            so the p-value is conservative.
        trials: the same shape.
        share: in (0, 1).
    """
    from scipy.special import betainc

    count, of = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    some = (count > 0) & (of >= count)
    return np.where(some, betainc(np.where(some, count, 1), np.where(some, of - count + 1, 1), share), 1.0)


def concentration_p(
    own: npt.NDArray[np.int64], of_class: npt.NDArray[np.int64], of_value: npt.NDArray[np.int64], total: int
) -> npt.NDArray[np.float64]:
    """Return one-sided hypergeometric p-values of the number of a value's duplicate sets that are in a class.

    Args:
        own: duplicate sets of the class with the value; any shape.
        of_class: duplicate sets of the class; the same shape.
        of_value: duplicate sets with the value; the same shape.
        total: duplicate sets of the dataset.
    """
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.sf(own - 1, total, of_class, of_value), np.float64)


def adjusted_p(p: npt.ArrayLike, large: npt.ArrayLike, *, tests: int | None = None, method: Literal["bh", "by"] = "bh") -> npt.NDArray[np.float64]:
    """Return p-values adjusted for multiple testing: report those that are at most the wanted false discovery rate.

    An effect that is too small to report gets p-value 1 before the adjustment. If it were dropped afterwards, true but small effects would count as
    discoveries and raise the threshold for all others, which would let chance findings in.

    Args:
        p: p-values, any shape.
        large: the same shape; which effects are large enough to report.
        tests: number of tests, including those with p-value 1 that ``p`` leaves out; by default the size of ``p``.
        method: ``bh`` (Benjamini & Hochberg 1995), or ``by`` (Benjamini & Yekutieli 2001) for tests with arbitrary dependence.

    Returns:
        The same shape, 0..1; 1 where an effect is not large enough.
    """
    from scipy.stats import false_discovery_control

    counted = np.where(large, np.clip(np.asarray(p, np.float64), 0, 1), 1.0)
    count = max(tests or 0, counted.size)
    times = count / max(counted.size, 1) * (np.sum(1 / np.arange(1, count + 1)) if method == "by" else 1)
    return np.asarray(np.minimum(false_discovery_control(counted, axis=None) * times, 1), np.float64).reshape(counted.shape)

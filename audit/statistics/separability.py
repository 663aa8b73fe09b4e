"""How well a property distinguishes each class from the others: by its bins, out of sample, and by values of part of the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.statistics.bins import chance_of, standing_out
from audit.statistics.multiple_testing import adjusted_p

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from audit.statistics.properties import Property
    from audit.statistics.split_half import ClassHalves


class Tested(NamedTuple):
    """How well a property distinguishes each class."""

    found: Property
    counts: npt.NDArray[np.int64]
    """``[c, w]`` duplicate sets of each class in each bin."""
    areas: npt.NDArray[np.float64]
    """``[c]`` areas under the ROC curve, see ``separability``."""
    certain: npt.NDArray[np.float64]
    """``[c]`` adjusted p-values."""
    out: npt.NDArray[np.bool_] | None
    """``[c, w]`` values that stand out; None for numbers."""


def tested_properties(
    found: list[Property], classes: ClassHalves, asked: npt.NDArray[np.bool_], *, least_auc: float, least_share: float
) -> Iterator[Tested]:
    """Test how well each property distinguishes each class, and control the false discovery rate over all tests.

    Args:
        found: the properties of the classes' images.
        classes: at least two.
        asked: ``[p, c]`` which tests to run; all others have an adjusted p-value of 1.
        least_auc: smallest area that counts, in (0.5, 1].
        least_share: smallest share of a class with one value that counts, in (0, 1].
    """
    count = len(classes.named)
    measured = [separability(one.bins[classes.counted], classes.codes[classes.counted], classes.half[classes.counted], count) for one in found]
    areas, p = (np.stack(part) for part in zip(*measured, strict=True))
    counts = [_counts(one, classes) for one in found]
    valued = [which for which, one in enumerate(found) if not one.ordered]
    out = {which: standing_out(counts[which], least_share) for which in valued}
    partly = np.array([chance_of(counts[which], out[which]) for which in valued]).reshape(-1, count)
    large = np.concatenate([areas >= least_auc, np.array([out[which].any(1) for which in valued], bool).reshape(-1, count)])
    both = np.concatenate([asked, asked[valued]])
    adjusted = np.ones(both.shape)
    adjusted[both] = adjusted_p(np.concatenate([p, partly])[both], large[both], method="by")
    certain = adjusted[: len(found)]
    certain[valued] = np.minimum(certain[valued], adjusted[len(found) :])
    for which, one in enumerate(found):
        yield Tested(one, counts[which], areas[which], certain[which], out.get(which))


def separability(
    bins: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], half: npt.NDArray[np.bool_], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure how well a binned property distinguishes each class from all others, out of sample.

    Bins are ranked by the smoothed ratio of their shares on one half, and the area under the ROC curve is measured on the other; both ways,
    averaged.

    Args:
        bins: ``[n]`` bin of each image.
        classes: ``[n]`` class codes, 0 to count - 1.
        half: ``[n]`` half of each image.
        count: number of classes.

    Returns:
        ``[c]`` areas, 0..1, 0.5 if a half lacks the class; ``[c]`` one-sided p-values (normal approximation of Mann & Whitney's U).
    """
    from scipy.stats import norm

    width = int(bins.max(initial=0)) + 1
    counts = np.stack([np.bincount(classes[side] * width + bins[side], minlength=count * width).reshape(count, width) for side in (~half, half)])
    total = counts.sum(1, keepdims=True)
    rest = total - counts
    areas, scores = np.full((2, count), 0.5), np.zeros((2, count))
    for learned in (0, 1):
        prior = (total[learned] + 0.5) / (total[learned].sum() + 0.5 * width)
        ratio = (counts[learned] + 2 * prior) / (counts[learned].sum(1, keepdims=True) + 2)
        ratio /= (rest[learned] + 2 * prior) / (rest[learned].sum(1, keepdims=True) + 2)
        order = np.argsort(ratio, axis=1, kind="stable")
        own = np.take_along_axis(counts[1 - learned], order, 1).astype(np.float64)
        other = np.take_along_axis(rest[1 - learned], order, 1).astype(np.float64)
        n, m = own.sum(1), other.sum(1)
        judged = (n > 0) & (m > 0)
        wins = (own * (np.cumsum(other, 1) - other / 2)).sum(1)
        areas[learned, judged] = wins[judged] / (n * m)[judged]
        error = np.sqrt((n + m + 1)[judged] / (12 * (n * m)[judged]))
        scores[learned, judged] = (areas[learned, judged] - 0.5) / error
    # The two scores are not independent, as each half trains the other: their mean varies like one of them.
    return areas.mean(0), norm.sf(scores.mean(0))


def _counts(found: Property, classes: ClassHalves) -> npt.NDArray[np.int64]:
    """Return ``[c, w]``: duplicate sets of each class in each bin."""
    count, width = len(classes.named), len(found.bin_names)
    return np.bincount((classes.codes * width + found.bins)[classes.counted], minlength=count * width).reshape(count, width)

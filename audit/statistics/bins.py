"""Which values of a property tell a class from the others best: a range of numbers or two, or one value; and which stand out in a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.statistics.multiple_testing import concentration_p

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.statistics.properties import Property

    Counts = npt.NDArray[np.int64]
    Shares = npt.NDArray[np.float64]

_TIMES = 3
"""A value stands out in a class where so many times the share of the class has it as of the others: as in marks and same_source, a convention."""


class Telling(NamedTuple):
    """What a class has more often than the others."""

    bins: npt.NDArray[np.bool_]
    """``[w]`` the bins of images that show it."""
    value: str
    """The range or the value, in words."""
    share_of_class: float
    share_of_rest: float
    """Of the range or the value, 0..1."""
    is_range: bool
    together: tuple[int, float, float] | None = None
    """Where several values show it: their number, and the shares of the class and of the rest that have any of them."""


def standing_out(counts: Counts, least_share: float) -> npt.NDArray[np.bool_]:
    """Return ``[c, w]`` which values so much of a class has, and at most a third of that share of the others.

    Args:
        counts: ``[c, w]`` pictures of each class with each value; no class without any.
        least_share: above 0 and at most 1.
    """
    own, rest = counts / counts.sum(1, keepdims=True), counts.sum(0) - counts
    return np.asarray((own >= least_share) & (own >= _TIMES * rest / np.maximum(rest.sum(1, keepdims=True), 1)), np.bool_)


def chance_of(counts: Counts, values: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return ``[c]`` how likely chance gives a class so much of its most telling value (hypergeometric), times the number of all values.

    Args:
        counts: ``[c, w]`` pictures of each class with each value.
        values: ``[c, w]`` which values are asked about; where there is none, the chance is 1.
    """
    p = np.ones(counts.shape)
    of, value = np.nonzero(values)
    p[of, value] = concentration_p(counts[of, value], counts.sum(1)[of], counts.sum(0)[value], int(counts.sum()))
    return np.asarray(np.minimum(p.min(1) * counts.shape[1], 1), np.float64)


def telling(found: Property, own: Counts, rest: Counts, among: npt.NDArray[np.bool_] | None = None) -> Telling:
    """Return what tells a class best: where its share is furthest above that of the others (Youden's J).

    Of numbers this is the run of neighboring bins of which the differences have the largest sum; of values it is the one with the largest difference,
    and all that are likelier in the class show it.

    Args:
        found: the property.
        own: ``[w]`` pictures of the class in each bin.
        rest: ``[w]`` pictures of all others.
        among: ``[w]`` the values to choose from, of a property without numbers; by default all.
    """
    of_class, of_rest = own / own.sum(), rest / rest.sum()
    more, width = of_class - of_rest, len(own)
    values = np.arange(width) >= found.ordered if among is None else among
    best = int(np.argmax(np.where(values, more, -np.inf)))  # the last bin is a value always: what is unknown
    if found.ordered:
        run = _best_run(more, 0, found.ordered)
        if more[run].sum() >= more[best]:
            return _range(found, run, of_class, of_rest)
    showing = values & (more > 0)
    together = (int(showing.sum()), float(of_class[showing].sum()), float(of_rest[showing].sum())) if showing.sum() > 1 else None
    return Telling(showing, found.told[best], float(of_class[best]), float(of_rest[best]), is_range=False, together=together)


def further_range(found: Property, own: Counts, rest: Counts, told: Telling, *, least_share: float, chance: float) -> Telling | None:
    """Return the range beside the one that is told in which a class lies too, as one that lies at both ends does; None where there is none.

    Each of the two must by itself hold enough of the class, and more of it than chance explains (hypergeometric, times the number of ranges).

    Args:
        found: the property, of numbers.
        own: ``[w]`` pictures of the class in each bin.
        rest: ``[w]`` pictures of all others.
        told: the range that is told.
        least_share: of the class that each must hold, above 0 and at most 1.
        chance: the largest p-value of each, above 0 and below 1.
    """
    of_class, of_rest = own / own.sum(), rest / rest.sum()
    within = np.flatnonzero(told.bins)
    sides = [(first, end) for first, end in ((0, within[0]), (within[-1] + 1, found.ordered)) if first < end]
    if not sides:
        return None
    runs = (_best_run(of_class - of_rest, first, end) for first, end in sides)
    further = max((_range(found, run, of_class, of_rest) for run in runs), key=lambda one: one.share_of_class - one.share_of_rest)
    both, ranges = np.stack([told.bins, further.bins]), found.ordered * (found.ordered + 1) // 2
    mine, all_of_it = (np.where(both, counts, 0).sum(1) for counts in (own, own + rest))
    p = ranges * concentration_p(mine, own.sum(), all_of_it, int((own + rest).sum()))
    return further if (p <= chance).all() and min(told.share_of_class, further.share_of_class) >= least_share else None


def _range(found: Property, run: slice, own: Shares, rest: Shares) -> Telling:
    bins = np.zeros(len(own), bool)
    bins[run] = True
    return Telling(bins, found.range_told(run.start, run.stop - 1), float(own[run].sum()), float(rest[run].sum()), is_range=True)


def _best_run(more: Shares, first: int, end: int) -> slice:
    """Return the run between two places with the largest sum; of equal ones one that reaches an end, as it has one limit only."""
    before = np.concatenate([[0.0], np.cumsum(more[first:end])])
    gains = before[1:] - np.minimum.accumulate(before)[:-1]
    last = len(gains) - 1 - int(np.argmax(gains[::-1]))
    return slice(first + int(np.argmin(before[: last + 1])), first + last + 1)


def medians(numbers: npt.NDArray[np.float64], own: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return the medians of a class and of all others; None where there are no numbers.

    Args:
        numbers: ``[n]`` sorted.
        own: ``[m]`` places of the class's among them, sorted.
    """
    passed = own - np.arange(len(own))  # so many others lie before each of the class's
    told: list[float | None] = []
    for count, is_rest in ((len(own), False), (len(numbers) - len(own), True)):
        middle = np.array([(count - 1) // 2, count // 2])
        at = middle + np.searchsorted(passed, middle, side="right") if is_rest else middle
        told.append(float(numbers[at if is_rest else own[at]].mean()) if count else None)
    return told[0], told[1]

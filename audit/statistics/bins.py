"""Bins of a property that distinguish a class from the others: the best range or value, and values that stand out in part of the class."""

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
"""A value stands out if its share of the class is at least this multiple of its share of the others: a convention, as in marks and same_source."""


class Distinctive(NamedTuple):
    """The range or value that a class has more often than the others."""

    bins: npt.NDArray[np.bool_]
    """``[w]`` bins whose images have it."""
    value: str
    """Text of the range or value."""
    share_of_class: float
    """Share of the class in the range or value, 0..1."""
    share_of_rest: float
    """Share of all other classes, 0..1."""
    is_range: bool
    together: tuple[int, float, float] | None = None
    """If several values distinguish the class: their number, and the shares of the class and of the rest that have any of them."""


def standing_out(counts: Counts, least_share: float) -> npt.NDArray[np.bool_]:
    """Return bool ``[c, w]``: values held by at least ``least_share`` of a class and by at most a third of that share of the others.

    Args:
        counts: ``[c, w]`` duplicate sets of each class with each value; at least one per class.
        least_share: in (0, 1].
    """
    own, rest = counts / counts.sum(1, keepdims=True), counts.sum(0) - counts
    return np.asarray((own >= least_share) & (own >= _TIMES * rest / np.maximum(rest.sum(1, keepdims=True), 1)), np.bool_)


def chance_of(counts: Counts, values: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return ``[c]``: each class's smallest hypergeometric p-value over the selected values, times the number of all values (Bonferroni).

    Args:
        counts: ``[c, w]`` duplicate sets of each class with each value.
        values: ``[c, w]`` values to test; a class without any has p-value 1.
    """
    p = np.ones(counts.shape)
    of, value = np.nonzero(values)
    p[of, value] = concentration_p(counts[of, value], counts.sum(1)[of], counts.sum(0)[value], int(counts.sum()))
    return np.asarray(np.minimum(p.min(1) * counts.shape[1], 1), np.float64)


def most_distinctive(found: Property, own: Counts, rest: Counts, among: npt.NDArray[np.bool_] | None = None) -> Distinctive:
    """Return the range or value where the class's share exceeds that of the others most (Youden's J).

    For numbers: the run of adjacent bins with the largest sum of differences. For values: the one with the largest difference; ``bins`` then
    marks every value that is more frequent in the class.

    Args:
        found: the property.
        own: ``[w]`` duplicate sets of the class in each bin.
        rest: ``[w]`` duplicate sets of all others.
        among: ``[w]`` values to choose from, for a property without numbers; by default all.
    """
    of_class, of_rest = own / own.sum(), rest / rest.sum()
    more, width = of_class - of_rest, len(own)
    values = np.arange(width) >= found.ordered if among is None else among
    best = int(np.argmax(np.where(values, more, -np.inf)))  # there is always one: the last bin, unknown
    if found.ordered:
        run = _best_run(more, 0, found.ordered)
        if more[run].sum() >= more[best]:
            return _range(found, run, of_class, of_rest)
    showing = values & (more > 0)
    together = (int(showing.sum()), float(of_class[showing].sum()), float(of_rest[showing].sum())) if showing.sum() > 1 else None
    return Distinctive(showing, found.bin_names[best], float(of_class[best]), float(of_rest[best]), is_range=False, together=together)


def further_range(found: Property, own: Counts, rest: Counts, best: Distinctive, *, least_share: float, chance: float) -> Distinctive | None:
    """Return a second distinctive range of the class, for a class at both ends of a property; None if there is none.

    Each of the two ranges must hold enough of the class, and more of it than chance explains (hypergeometric, times the number of ranges).

    Args:
        found: a property with numbers.
        own: ``[w]`` duplicate sets of the class in each bin.
        rest: ``[w]`` duplicate sets of all others.
        best: the most distinctive range.
        least_share: smallest share of the class in each range, in (0, 1].
        chance: largest p-value of each range, in (0, 1).
    """
    of_class, of_rest = own / own.sum(), rest / rest.sum()
    within = np.flatnonzero(best.bins)
    sides = [(first, end) for first, end in ((0, within[0]), (within[-1] + 1, found.ordered)) if first < end]
    if not sides:
        return None
    runs = (_best_run(of_class - of_rest, first, end) for first, end in sides)
    further = max((_range(found, run, of_class, of_rest) for run in runs), key=lambda one: one.share_of_class - one.share_of_rest)
    both, ranges = np.stack([best.bins, further.bins]), found.ordered * (found.ordered + 1) // 2
    mine, all_of_it = (np.where(both, counts, 0).sum(1) for counts in (own, own + rest))
    p = ranges * concentration_p(mine, own.sum(), all_of_it, int((own + rest).sum()))
    return further if (p <= chance).all() and min(best.share_of_class, further.share_of_class) >= least_share else None


def _range(found: Property, run: slice, own: Shares, rest: Shares) -> Distinctive:
    bins = np.zeros(len(own), bool)
    bins[run] = True
    return Distinctive(bins, found.range_name(run.start, run.stop - 1), float(own[run].sum()), float(rest[run].sum()), is_range=True)


def _best_run(more: Shares, first: int, end: int) -> slice:
    """Return the run within ``first:end`` with the largest sum; of equal ones one that reaches an end, as it has only one limit."""
    before = np.concatenate([[0.0], np.cumsum(more[first:end])])
    gains = before[1:] - np.minimum.accumulate(before)[:-1]
    last = len(gains) - 1 - int(np.argmax(gains[::-1]))
    return slice(first + int(np.argmin(before[: last + 1])), first + last + 1)


def medians(numbers: npt.NDArray[np.float64], own: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return the medians of a class and of all others; None for an empty one.

    Args:
        numbers: ``[n]`` sorted.
        own: ``[m]`` sorted positions of the class's numbers.
    """
    passed = own - np.arange(len(own))  # how many others precede each number of the class
    found: list[float | None] = []
    for count, is_rest in ((len(own), False), (len(numbers) - len(own), True)):
        middle = np.array([(count - 1) // 2, count // 2])
        at = middle + np.searchsorted(passed, middle, side="right") if is_rest else middle
        found.append(float(numbers[at if is_rest else own[at]].mean()) if count else None)
    return found[0], found[1]

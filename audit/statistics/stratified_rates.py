"""How often something is so in groups of images, beside what the rest of their classes have.

Source: Mantel & Haenszel 1959, "Statistical Aspects of the Analysis of Data from Retrospective Studies of Disease", JNCI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """Rates of groups beside what the rest of their classes have; all ``[g]``."""

    size: npt.NDArray[np.int64]
    rate: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    """One-sided, that a group's rate is so high by chance."""


def compare(bad: npt.NDArray[np.bool_], group: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> Comparison:
    """Compare each group's rate with the one its images would have if they were like the others of their classes.

    The expected rate of a class is that of its images outside the group, drawn towards the overall rate by two images' weight. Chance is Mantel &
    Haenszel's: were bad images spread over each class blindly, a group's count of them would be a sum of hypergeometric numbers, whose mean, variance
    and skewness are known; its tail is taken from the gamma distribution that has the same (Pearson's type III), as the normal one's is too thin for
    small groups and rare errors.

    Args:
        bad: ``[n]``.
        group: ``[n]`` group codes from 0.
        classes: ``[n]`` class codes from 0.
    """
    groups, many = int(group.max(initial=-1)) + 1, int(classes.max(initial=-1)) + 1
    cell, at = np.unique(group * many + classes, return_inverse=True)
    of_group, of_class = cell // many, cell % many
    size, hits = np.bincount(at), np.bincount(at, weights=bad)
    whole, marked = (np.bincount(classes, weights=weights, minlength=many).astype(float)[of_class] for weights in (None, bad))
    usual = (marked - hits + 2 * bad.mean()) / (whole - size + 2)
    spread = size * marked * (whole - marked) * (whole - size) / (whole**2 * np.maximum(whole - 1, 1))
    lean = spread * (whole - 2 * marked) * (whole - 2 * size) / (whole * np.maximum(whole - 2, 1))
    total, found, wanted, mean, variance, third = (
        np.bincount(of_group, weights=values, minlength=groups).astype(float)
        for values in (size, hits, size * usual, size * marked / whole, spread, lean)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return Comparison(total.astype(np.int64), found / total, wanted / total, _tail(found - 0.5 - mean, variance, third))


def _tail(above: Numbers, variance: Numbers, third: Numbers) -> Numbers:
    """Return how likely a number is at least so far above its mean, by its variance and third central moment; 1 where it cannot vary."""
    from scipy.special import gammaincc, ndtr

    deviation = np.sqrt(variance)
    z, skewness = above / deviation, third / deviation**3
    leaning = np.maximum(skewness, 1e-3)
    shape = 4 / leaning**2
    tail = np.where(skewness > 1e-3, gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0)), ndtr(-z))
    return np.where(variance > 0, tail, 1.0)

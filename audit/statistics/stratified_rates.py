"""Compare rates of groups of images with the rates expected from the rest of their classes.

Source: Mantel & Haenszel 1959, "Statistical Aspects of the Analysis of Data from Retrospective Studies of Disease", JNCI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """Observed and expected rates of groups; all ``[g]``."""

    size: npt.NDArray[np.int64]
    rate: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    """One-sided p-values of a higher rate."""


def compare(bad: npt.NDArray[np.bool_], group: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> Comparison:
    """Compare each group's rate with the rate expected from its classes.

    The expected rate of a class is that of its images outside the group, shrunk towards the overall rate with the weight of two images. The test is
    Mantel & Haenszel's: if bad images were spread over each class at random, a group's count would be a sum of hypergeometric variables with known
    mean, variance and skewness. The tail is that of the gamma distribution with these moments (Pearson's type III), since the normal tail is too
    thin for small groups and rare errors.

    Args:
        bad: ``[n]`` images to count.
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
    """Return the upper tail probability at ``above`` the mean, from the variance and third central moment; 1 for zero variance."""
    from scipy.special import gammaincc, ndtr

    deviation = np.sqrt(variance)
    z, skewness = above / deviation, third / deviation**3
    leaning = np.maximum(skewness, 1e-3)
    shape = 4 / leaning**2
    tail = np.where(skewness > 1e-3, gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0)), ndtr(-z))
    return np.where(variance > 0, tail, 1.0)

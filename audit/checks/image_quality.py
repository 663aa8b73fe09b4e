"""Images that are hard to see: blurred, dark, overexposed, nearly empty, of an odd size or shape, or gray in a colorful dataset.

An image is flagged only where three things hold: its measure is bad in absolute terms, it is far from what is usual in the dataset, and it is far
from what is usual in its class. So night scenes, X-rays and product shots on white are not flagged wholesale, and a uniformly good dataset flags
nothing.

Blind spots: motion blur along one direction, blur of the subject before a sharp background, noise (which measures as sharp), datasets that are bad
throughout, and datasets too small to tell what is usual.

Papers: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", ICPR (variance of the Laplacian); Iglewicz & Hoaglin 1993 (robust
z-score).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, require_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

KINDS = ("dark", "bright", "low_information", "blurred", "odd_size", "odd_aspect", "grayscale")
FAMILY: Family = "quality"
EVIDENCE = {
    "measure": Evidence("Measure", "name"),
    "value": Evidence("Value"),
    "usual": Evidence("Usual"),
    "limit": Evidence("Limit"),
    "unit": Evidence("Unit"),
}


_BLANK_ENTROPY = 0.05
"""Bits per pixel; below this an image is one color, which needs no comparison."""

_GRAY_SHARE = 0.2
"""A dataset or class with a larger share of gray images is gray by nature."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the bounds lie; ``docs/checks/image_quality.md`` says where each was measured."""

    dark: float = 0.3
    """An image is dark where the 99th percentile of its luma is below this, 0..1."""
    bright: float = 0.6
    """An image is bright where the 1st percentile of its luma is above this, 0..1."""
    blurred: float = 2.4
    """An image is blurred where log10(1 + variance of the Laplacian) is below this."""
    low_information: float = 2.0
    """Entropy of the luma histogram below which an image says little, in bits."""
    gray: float = 0.03
    """Largest distance between color channels of an image called gray, 0..1."""
    odd_size: float = 4.0
    """How many times smaller or larger than usual a side is odd; above 1."""
    odd_aspect: float = 2.5
    """How many times wider or taller than usual a shape is odd; above 1."""
    deviations: float = 3.0
    """Robust standard deviations from the median of dataset and class; above 0."""
    fewest: int = 20
    """Images needed to tell what is usual, at least 1; smaller classes are judged by the dataset alone."""

    def __post_init__(self) -> None:
        require_above(self, odd_size=1, odd_aspect=1, deviations=0, fewest=0)


class Measure(NamedTuple):
    """One measure and when it is bad."""

    kind: str
    numbers: Floats
    """``[n]``, NaN where not measured."""
    sign: int
    """1: high is bad; -1: low is bad; 0: far from the usual is bad, with ``bound`` as distance from it."""
    bound: float
    unit: float
    """Distance beyond ``bound`` that counts as much as one standard deviation, and the least spread assumed."""


def margins(measure: Measure, classes: Sequence[Rows], deviations: float, fewest: int) -> Floats:
    """Return how far each image lies beyond all of its limits, in units of a standard deviation.

    Args:
        measure: the values and the absolute bound.
        classes: rows of each class.
        deviations: robust standard deviations from the median that are too many.
        fewest: images needed to tell what is usual.

    Returns:
        ``[n]``: the smallest of the distances beyond the bound, the dataset's fence and the class's fence; above 0 = bad; NaN where not measured;
        minus infinity where there are too few images to tell.
    """
    values = measure.numbers
    every = np.arange(len(values))
    if np.isfinite(values).sum() < fewest:
        return np.where(np.isfinite(values), -np.inf, np.nan)
    beyond, distance = _fence(measure, every)
    absolute = distance - measure.bound if measure.sign == 0 else measure.sign * (values - measure.bound)
    result: Floats = np.minimum(absolute / measure.unit, beyond - deviations)
    for rows in classes:
        if np.isfinite(values[rows]).sum() >= fewest:
            result[rows] = np.minimum(result[rows], _fence(measure, rows)[0] - deviations)
    return result


def gray_scores(chroma: Floats, classes: Sequence[Rows], bound: float, fewest: int) -> Floats:
    """Return ``[n]`` 0.6 for gray images where color is usual in dataset and class, else 0; NaN where not measured."""
    known = np.isfinite(chroma)
    gray = known & (chroma < bound)
    if known.sum() < fewest or gray.sum() > _GRAY_SHARE * known.sum():
        gray = np.zeros_like(gray)
    for rows in classes:
        if known[rows].sum() >= fewest and gray[rows].sum() > _GRAY_SHARE * known[rows].sum():
            gray[rows] = False
    return np.where(known, np.where(gray, 0.6, 0.0), np.nan)


def run(samples: pd.DataFrame, *, options: Options) -> Result:
    """Report images of poor quality for their dataset and class; failed images have no score."""
    column = {
        name: samples[name].to_numpy(np.float64, na_value=np.nan)
        for name in ("sharpness", "luma_p99", "luma_p01", "entropy", "chroma", "width", "height")
    }
    classes = [np.asarray(rows, np.int64) for _, rows in sorted(samples.groupby("label").indices.items())]
    size, aspect = np.log2(column["width"] * column["height"]) / 2, np.log2(column["width"] / column["height"])
    measures = [
        Measure("dark", column["luma_p99"], -1, options.dark, 0.05),
        Measure("bright", column["luma_p01"], 1, options.bright, 0.05),
        Measure("low_information", column["entropy"], -1, options.low_information, 0.3),
        Measure("odd_size", size, 0, float(np.log2(options.odd_size)), 0.25),
        Measure("odd_aspect", aspect, 0, float(np.log2(options.odd_aspect)), 0.2),
    ]
    scores = {measure.kind: _logistic(margins(measure, classes, options.deviations, options.fewest)) for measure in measures}
    scores["low_information"][column["entropy"] < _BLANK_ENTROPY] = 1.0
    # A dark, overexposed or empty image has no edges either: saying so twice helps nobody, and it says nothing about how sharp images usually are.
    no_edges = np.fmax.reduce([scores["dark"], scores["bright"], scores["low_information"]]) > 0.5
    sharpness = Measure("blurred", np.where(no_edges, np.nan, column["sharpness"]), -1, options.blurred, 0.15)
    measures.append(sharpness)
    scores["blurred"] = _logistic(margins(sharpness, classes, options.deviations, options.fewest))
    scores["grayscale"] = gray_scores(column["chroma"], classes, options.gray, options.fewest)
    failed = (samples["outcome"] != "ok").to_numpy(bool)
    limits = {measure.kind: measure.bound for measure in measures} | {"grayscale": options.gray}
    findings = []
    for kind, values in scores.items():
        values[failed] = np.nan
        name, unit, text = _TEXT[kind]
        shown = column.get(name, size if kind == "odd_size" else aspect)
        usual = float(np.nanmedian(shown)) if np.isfinite(shown).any() else float("nan")
        for row in np.flatnonzero(values > 0.5).tolist():
            facts = {"width": column["width"][row], "height": column["height"][row]}
            message = text.format(value=shown[row], usual=usual, **facts)
            evidence = {"measure": name, "value": shown[row], "usual": usual, "limit": limits[kind], "unit": unit}
            severity = "info" if kind in {"odd_size", "odd_aspect", "grayscale"} else "warning"
            findings.append(Finding(kind=kind, score=float(values[row]), severity=severity, message=message, row=row, evidence=evidence))
    worst = np.fmax.reduce(list(scores.values())) if len(samples) else np.empty(0)
    return Result(worst.astype(np.float32), findings)


_TEXT = {
    "dark": (
        "luma_p99",
        "0..1",
        "Is very dark: 99% of it has a luma below {value:.2f} (usual: {usual:.2f}); see whether anything can be told on it.",
    ),
    "bright": (
        "luma_p01",
        "0..1",
        "Is overexposed: 99% of it has a luma above {value:.2f} (usual: {usual:.2f}); see whether anything can be told on it.",
    ),
    "low_information": ("entropy", "bits", "Is nearly empty: {value:.1f} bits a pixel (usual: {usual:.1f}); see whether it shows anything."),
    "blurred": ("sharpness", "log10", "Is blurred: sharpness {value:.1f} (usual: {usual:.1f}); see whether its class can still be told."),
    "odd_size": ("size", "log2 px", "Is of an odd size for this dataset ({width:.0f} x {height:.0f} px); see whether it belongs here."),
    "odd_aspect": ("aspect", "log2", "Is of an odd shape for this dataset ({width:.0f} x {height:.0f} px); cropping or squashing it loses much."),
    "grayscale": ("chroma", "0..1", "Is gray where the other images are in color; see whether that is meant."),
}


def _fence(measure: Measure, rows: Rows) -> tuple[Floats, Floats]:
    """Return the rows' robust standard deviations towards bad, and their distances from the median."""
    from scipy.stats import median_abs_deviation

    values = measure.numbers[rows]
    known = values[np.isfinite(values)]
    median = np.median(known)
    away = np.abs(values - median)
    spread = max(float(median_abs_deviation(known, scale="normal")), measure.unit)
    return (away if measure.sign == 0 else measure.sign * (values - median)) / spread, away


def _logistic(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))), np.float64)

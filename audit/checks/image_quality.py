"""Images that are blurred, dark, overexposed, nearly empty, of unusual size or shape, or gray in a color dataset.

How it works: an image is flagged only if its measure is bad in absolute terms, far from the dataset's median, and far from its class's median. So
night scenes, X-rays and product shots on white are not flagged wholesale, and a uniformly good dataset has no findings. Blur is a lack of fine detail
where there is coarse detail, so a plain subject, which lacks both, is not blurred. An object on white is not overexposed, and a photo of something
gray is not a gray image.

Blind spots: motion blur along one direction, a blurred subject before a sharp background, noise (which measures as sharp), datasets that are bad
throughout, and datasets too small for a median.

Papers: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", ICPR (variance of the Laplacian); Iglewicz & Hoaglin 1993 (robust
z-score).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, require_above
from audit.images.measures import MEASURED_SIDE
from audit.predictions.calibration import sigmoid
from audit.tables import THUMBNAIL_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""

_ROWS_AT_ONCE = 8192

_FINE_AT_32, _FINE_PER_OCTAVE = 0.35, 0.43
"""Detail that an image of 32 pixels needs, and how much less with each doubling of the side: the detail of 1,750 images of six fields is above, that
of the same images after a Gaussian blur of 1.2% of the side below; ``benchmarks/planted_quality.py``."""

_SMALL, _LESS_PER_OCTAVE = 64, 0.4
"""Side up to which the sharpness of blurred images is alike, and how much less it is with each doubling."""

_WHITE, _WHITE_BORDER = 250, 0.75
"""Luma from which a pixel is white, and the share of white pixels along the border of an image that shows an object on white."""

KINDS = ("dark", "bright", "low_information", "blurred", "odd_size", "odd_aspect", "grayscale")
FAMILY: Family = "quality"
EVIDENCE = {
    "measure": Evidence("Measure", "name"),
    "value": Evidence("Value"),
    "usual": Evidence("Median of the dataset"),
    "limit": Evidence("Limit"),
    "unit": Evidence("Unit"),
}

_BLANK_ENTROPY = 0.05
"""Bits per pixel below which an image has one color, which needs no comparison."""

_GRAY_SHARE = 0.2
"""A dataset or class with a larger share of gray images is gray by nature."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Bounds; ``docs/checks/image_quality.md`` says how they were set."""

    dark: float = 0.3
    """An image is dark if the 99th percentile of its luma is below this, 0..1."""
    bright: float = 0.6
    """An image is overexposed if the 1st percentile of its luma is above this, 0..1."""
    blurred: float = 2.4
    """An image is blurred if log10(1 + variance of the Laplacian) is below this at a short side of 64 pixels or less; 0.8 less at 256."""
    low_information: float = 2.0
    """An image is nearly empty if the entropy of its luma histogram is below this, in bits."""
    gray: float = 0.004
    """An image is gray if the 99th percentile of the distance between its color channels is below this, 0..1; 1/255 is 0.0039."""
    odd_size: float = 4.0
    """Factor from the median size (square root of the area) from which a size is unusual; above 1."""
    odd_aspect: float = 2.5
    """Factor from the median aspect ratio from which a shape is unusual; above 1."""
    deviations: float = 3.0
    """Robust standard deviations from the medians of dataset and class; above 0."""
    fewest: int = 20
    """Images that the median of a dataset needs, at least 1; a class needs half as many, or it is judged by the dataset alone."""

    def __post_init__(self) -> None:
        require_above(self, odd_size=1, odd_aspect=1, deviations=0, fewest=0)


class Measure(NamedTuple):
    """One measure, and which values are bad."""

    kind: str
    numbers: Floats
    """``[n]``, NaN where not measured."""
    sign: int
    """1: high is bad; -1: low is bad; 0: far from the median is bad, and ``bound`` is the distance from it."""
    bound: float
    unit: float
    """Distance beyond ``bound`` that counts as one standard deviation; also the smallest spread assumed."""
    most: float = float("inf")
    """Largest spread assumed."""


def margins(measure: Measure, classes: Sequence[Rows], deviations: float, fewest: int) -> Floats:
    """Return how far each image is beyond all of its limits, in standard deviations.

    Args:
        measure: the values and the absolute bound.
        classes: rows of each class.
        deviations: limit in robust standard deviations from the median.
        fewest: images that the median of the dataset needs; that of a class needs half as many.

    Returns:
        ``[n]``: the smallest of the distances beyond the bound, the dataset's limit and the class's limit; above 0 = bad; NaN where not measured;
        minus infinity where there are too few images.
    """
    values = measure.numbers
    every = np.arange(len(values))
    if np.isfinite(values).sum() < fewest:
        return np.where(np.isfinite(values), -np.inf, np.nan)
    beyond, distance = _fence(measure, every)
    absolute = distance - measure.bound if measure.sign == 0 else measure.sign * (values - measure.bound)
    result: Floats = np.minimum(absolute / measure.unit, beyond - deviations)
    for rows in classes:
        if np.isfinite(values[rows]).sum() >= fewest / 2:
            result[rows] = np.minimum(result[rows], _fence(measure, rows)[0] - deviations)
    return result


def coarse_detail(thumbnails: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return how much detail images have at the scale of a thumbnail, and how white their border is.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]`` whole images; may be memory-mapped, read in blocks.

    Returns:
        ``[n]`` log10(1 + mean squared step between neighboring pixels of 8-bit luma), which compares with ``sharpness``; and ``[n]`` the share of
        the outermost pixels that are white.
    """
    steps, white = np.zeros(len(thumbnails)), np.zeros(len(thumbnails))
    for start in range(0, len(thumbnails), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        luma = np.asarray(thumbnails[part], np.float32) @ _LUMA
        steps[part] = sum(np.square(np.diff(luma, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)) / 2
        border = np.concatenate([luma[:, 0], luma[:, -1], luma[:, 1:-1, 0], luma[:, 1:-1, -1]], axis=1)
        white[part] = (border >= _WHITE).mean(axis=1)
    return np.log10(1 + steps), white


def fine_detail(sharpness: Floats, coarse: Floats, shorter: Floats) -> Floats:
    """Return how much more fine detail images have, in decades, than an image of their size that is just recognisably blurred; below 0 = blurred.

    Args:
        sharpness: ``[n]`` log10(1 + variance of the Laplacian).
        coarse: ``[n]`` from `coarse_detail`.
        shorter: ``[n]`` the shorter side, in pixels.
    """
    measured = np.clip(shorter, THUMBNAIL_SIDE, MEASURED_SIDE)
    return np.asarray(sharpness - coarse - _FINE_AT_32 + _FINE_PER_OCTAVE * np.log2(measured / THUMBNAIL_SIDE), np.float64)


def gray_scores(chroma: Floats, classes: Sequence[Rows], bound: float, fewest: int) -> Floats:
    """Return ``[n]``: 0.6 for gray images where dataset and class are mostly in color, else 0; NaN where not measured."""
    known = np.isfinite(chroma)
    gray = known & (chroma < bound)
    if known.sum() < fewest or gray.sum() > _GRAY_SHARE * known.sum():
        gray = np.zeros_like(gray)
    for rows in classes:
        if known[rows].sum() >= fewest and gray[rows].sum() > _GRAY_SHARE * known[rows].sum():
            gray[rows] = False
    return np.where(known, np.where(gray, 0.6, 0.0), np.nan)


def run(samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8], *, options: Options) -> Result:
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
    scores = {measure.kind: sigmoid(margins(measure, classes, options.deviations, options.fewest), limit=50) for measure in measures}
    scores["low_information"][column["entropy"] < _BLANK_ENTROPY] = 1.0
    coarse, white_border = coarse_detail(thumbnails)
    scores["bright"][white_border >= _WHITE_BORDER] = 0
    # A dark, overexposed or empty image has no edges either. It is not reported twice, and does not count in the usual sharpness.
    no_edges = np.fmax.reduce([scores["dark"], scores["bright"], scores["low_information"]]) > 0.5
    sharpness = np.where(no_edges, np.nan, column["sharpness"])
    shorter = np.fmin(column["width"], column["height"])
    fine = Measure("blurred", fine_detail(sharpness, coarse, shorter), -1, 0.0, 0.15, most=0.3)
    little = options.blurred - _LESS_PER_OCTAVE * np.log2(np.clip(shorter, _SMALL, MEASURED_SIDE) / _SMALL) - sharpness
    scores["blurred"] = sigmoid(np.minimum(margins(fine, classes, options.deviations, options.fewest), little / fine.unit), limit=50)
    scores["grayscale"] = gray_scores(column["chroma"], classes, options.gray, options.fewest)
    failed = (samples["outcome"] != "ok").to_numpy(bool)
    limits = {measure.kind: measure.bound for measure in measures} | {"grayscale": options.gray, "blurred": options.blurred}
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
        "Very dark: 99% of the pixels are below luma {value:.2f} (typical here: {usual:.2f}). Check that the object is still recognisable.",
    ),
    "bright": (
        "luma_p01",
        "0..1",
        "Overexposed: 99% of the pixels are above luma {value:.2f} (typical here: {usual:.2f}). Check that the object is still recognisable.",
    ),
    "low_information": ("entropy", "bits", "Nearly empty: {value:.1f} bits per pixel (typical here: {usual:.1f}). Check that it shows anything."),
    "blurred": (
        "sharpness",
        "log10",
        "Blurred: fine detail is missing, sharpness {value:.1f} (typical here: {usual:.1f}). Check that the object is still recognisable.",
    ),
    "odd_size": ("size", "log2 px", "Unusual size for this dataset ({width:.0f} x {height:.0f} px). Check that it belongs here."),
    "odd_aspect": (
        "aspect",
        "log2",
        "Unusual aspect ratio for this dataset ({width:.0f} x {height:.0f} px). Pad it: cropping or squashing loses much of it.",
    ),
    "grayscale": ("chroma", "0..1", "Gray, although most images here are in color. Check that this is intended."),
}


def _fence(measure: Measure, rows: Rows) -> tuple[Floats, Floats]:
    """Return the rows' robust standard deviations in the bad direction, and their distances from the median."""
    from scipy.stats import median_abs_deviation

    values = measure.numbers[rows]
    known = values[np.isfinite(values)]
    median = np.median(known)
    away = np.abs(values - median)
    spread = float(np.clip(median_abs_deviation(known, scale="normal"), measure.unit, measure.most))
    return (away if measure.sign == 0 else measure.sign * (values - median)) / spread, away

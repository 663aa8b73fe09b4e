"""Images and classes that lose much detail outside the usual centre crop.

Why it matters: training and evaluation resize the shorter side to 256 pixels and keep the central 224. If the object is at the border or the image is
a panorama, the model never sees what the label is about.

How it works: detail is the gradient energy of the stored thumbnail; the loss is the share outside the crop. Wide images always lose more, so an image
is reported only if it loses much in absolute terms and much more than is usual in its dataset.

Blind spots: detail is not the object: a plain object before a busy background, or the reverse, misleads. Training with random crops sees the border
now and then. Thumbnails have 32 pixels a side, so fine texture does not count.

Papers: Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS (the centre crop); Touvron et
al. 2019, "Fixing the train-test resolution discrepancy", NeurIPS; Iglewicz & Hoaglin 1993 (robust z-score).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, require_above, require_shares
from audit.labels.class_names import class_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

KINDS = ("cropped", "class_crop", "dataset_crop")
FAMILY: Family = "bias"
EVIDENCE = {
    "lost": Evidence("Detail lost to the centre crop", "share"),
    "usual": Evidence("Median of the dataset", "share"),
    "deviations": Evidence("Robust standard deviations above the median"),
    "aspect": Evidence("Aspect ratio"),
    "images": Evidence("Images"),
    "much_lost": Evidence("Images that lose much detail"),
}

_ROWS_AT_ONCE = 8192
_LEAST_SPREAD = 0.05
_LEAST_STEP = 1.0
"""Root mean square step between neighboring pixels of a thumbnail, in gray levels, below which an image has no detail. The steps of a flat image are
rounding, noise and JPEG artefacts, at most 0.7. Of 24,000 photos of CIFAR-10 and Tiny ImageNet, the flattest has 2.8."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The crop, and the limits, which are conventions."""

    crop: float = 224 / 256
    """Side of the central square, as a share of the shorter side; above 0, at most 1."""
    least_lost: float = 0.6
    """Share of detail lost from which an image is reported; above 0, at most 1."""
    deviations: float = 3.0
    """Robust standard deviations above the dataset's median from which an image is reported; above 0."""
    class_lost: float = 0.15
    """A class is reported where its median is this much above the dataset's; above 0, at most 1."""
    fewest: int = 20
    """Images that a median needs, in the dataset or a class; at least 1."""

    def __post_init__(self) -> None:
        require_shares(self, "crop", "least_lost", "class_lost", example=0.5)
        require_above(self, deviations=0, fewest=0)


def lost_detail(thumbnails: npt.NDArray[np.uint8], width: Floats, height: Floats, crop: float) -> Floats:
    """Return the share of each image's gradient energy outside a centre crop.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]`` whole images, squashed; may be memory-mapped, read in blocks.
        width: ``[n]`` pixels; NaN where unknown.
        height: ``[n]`` pixels.
        crop: side of the central square, as a share of the shorter side.

    Returns:
        ``[n]`` in [0, 1]; NaN for images of unknown size and for flat ones.
    """
    found = np.full(len(thumbnails), np.nan)
    side = thumbnails.shape[1]
    edges, between = np.arange(side + 1) / side, (np.arange(side) + 0.5) / side
    shorter = np.minimum(width, height)
    for start in range(0, len(thumbnails), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        luma = np.asarray(thumbnails[part], np.float32) @ _LUMA
        kept = [crop * shorter[part] / whole[part] for whole in (height, width)]
        # A thumbnail pixel covers several image pixels, so a step across it is a gradient smaller by that factor.
        squares = [np.diff(luma, axis=axis + 1) ** 2 for axis in (0, 1)]
        steps = [square / whole[part, None, None] ** 2 for square, whole in zip(squares, (height, width), strict=True)]
        weights = ((_inside(kept[0], between), _inside(kept[1], edges)), (_inside(kept[0], edges), _inside(kept[1], between)))
        inside = [np.einsum("nyx,ny,nx->n", energy, *along) for energy, along in zip(steps, weights, strict=True)]
        with np.errstate(invalid="ignore", divide="ignore"):
            found[part] = 1 - sum(inside) / sum(energy.sum(axis=(1, 2)) for energy in steps)
        found[part][sum(square.mean(axis=(1, 2)) for square in squares) / 2 < _LEAST_STEP**2] = np.nan
    return np.asarray(np.clip(found, 0, 1), np.float64)


def _inside(share: Floats, edges: Floats) -> Floats:
    """Return ``[n, cells]``: the part of each cell of a line that is inside its central share."""
    low, high = (1 - share[:, None]) / 2, (1 + share[:, None]) / 2
    return np.asarray(np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (edges[1] - edges[0]), np.float64)


def run(samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8], class_words: Mapping[str, str] | None = None, *, options: Options) -> Result:
    """Report images and classes that lose more than usual, and the dataset once; the score is the share lost."""
    from scipy.stats import median_abs_deviation

    width, height = (samples[name].to_numpy(np.float64, na_value=np.nan) for name in ("width", "height"))
    lost = lost_detail(thumbnails, width, height, options.crop)
    lost[(samples["outcome"] != "ok").to_numpy(bool)] = np.nan
    known = lost[np.isfinite(lost)]
    if len(known) < options.fewest:
        return Result(lost.astype(np.float32))
    usual = float(np.median(known))
    spread = max(float(median_abs_deviation(known, scale="normal")), _LEAST_SPREAD)
    limit = max(options.least_lost, usual + options.deviations * spread)
    findings = [_of_image(int(row), float(lost[row]), usual, spread, float(width[row] / height[row])) for row in np.flatnonzero(lost >= limit)]
    findings += _of_classes(samples, lost, usual, spread, class_words or {}, options)
    cut = int((known >= options.least_lost).sum())
    if cut:
        evidence = {"images": len(known), "usual": usual, "much_lost": cut}
        message = f"{cut:,} of {len(known):,} images lose at least {options.least_lost:.0%} of their detail to the centre crop. Try padding."
        findings.append(Finding(kind="dataset_crop", score=cut / len(known), severity="info", message=message, evidence=evidence))
    return Result(lost.astype(np.float32), findings)


def _of_image(row: int, lost: float, usual: float, spread: float, aspect: float) -> Finding:
    evidence = {"lost": lost, "usual": usual, "deviations": (lost - usual) / spread, "aspect": aspect}
    message = (
        f"Loses {lost:.0%} of its detail to the centre crop (typical here: {usual:.0%}). If the object is cut off, pad the image or crop it by hand."
    )
    return Finding(kind="cropped", score=lost, severity="info", message=message, row=row, evidence=evidence)


def _of_classes(samples: pd.DataFrame, lost: Floats, usual: float, spread: float, words: Mapping[str, str], options: Options) -> list[Finding]:
    findings = []
    for label, rows in sorted(samples.groupby("label").indices.items()):
        mine = lost[rows][np.isfinite(lost[rows])]
        if len(mine) < options.fewest:
            continue
        median = float(np.median(mine))
        if median - usual >= options.class_lost:
            evidence = {"images": len(mine), "lost": median, "usual": usual, "deviations": (median - usual) / spread}
            name = class_name(str(label), words)
            message = f"Images of {name} lose {median:.0%} of their detail to the centre crop (typical here: {usual:.0%}). Pad this class."
            findings.append(Finding(kind="class_crop", score=median, severity="info", message=message, label=str(label), evidence=evidence))
    return findings

"""Images and classes whose subject the usual centre crop cuts.

Why it matters: training and evaluation resize the shorter side to 256 pixels and keep the central 224. If the object is at the border or the image is
a panorama, the model never sees what the label is about.

How it works: what differs in color from the sides of the image, and is not far from its centre, looks like the subject; background, borders and
captions do not count. The loss is the share of that outside the crop. If nothing stands out, a panorama loses the share of its area. An image is
reported only if it loses much in absolute terms and much more than is usual in its dataset.

Blind spots: a subject of the color of its background; a busy background of many colors; two subjects of which one is labelled. Training with random
crops sees the border now and then. Thumbnails have 32 pixels a side.

Papers: Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS (the centre crop); Touvron et
al. 2019, "Fixing the train-test resolution discrepancy", NeurIPS; Wei et al. 2012, "Geodesic Saliency Using Background Priors", ECCV (the sides are
background); Iglewicz & Hoaglin 1993 (robust z-score).
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
    "lost": Evidence("Subject lost to the centre crop", "share"),
    "usual": Evidence("Median of the dataset", "share"),
    "deviations": Evidence("Robust standard deviations above the median"),
    "aspect": Evidence("Aspect ratio"),
    "images": Evidence("Images"),
    "much_lost": Evidence("Images that lose much"),
}

_ROWS_AT_ONCE = 256
"""Images at once, so that the arrays stay in the processor's cache."""
_LEAST_SPREAD = 0.05
_SIDE = 16
"""A side of the image is this part of it: two pixels of a thumbnail of 32."""
_NOISE = 15.0
"""Distance in RGB, 0..441, that is added to the spread of a side: of an even side, noise and JPEG artefacts must not stand out."""
_STANDS_OUT, _MOST = 1.0, 3.0
"""Spreads from every side from which a pixel stands out, and the most that counts of the distance beyond."""
_CENTRE = 0.4
"""Standard deviation of the centre prior, as a share of the side."""
_LEAST_SUBJECT = 0.05
"""Mean of the map of the subject, 0..3, below which nothing stands out."""
_PANORAMA = 0.7
"""Share of the area lost from which an image without a subject that stands out is judged by its area."""
_WORTH_SAYING = 0.05
"""Share of the images that lose much from which the dataset is reported."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The crop, and the limits, which are conventions."""

    crop: float = 224 / 256
    """Side of the central square, as a share of the shorter side; above 0, at most 1."""
    least_lost: float = 0.35
    """Share of the subject lost from which an image is reported; above 0, at most 1."""
    deviations: float = 3.0
    """Robust standard deviations above the dataset's median from which an image is reported; above 0."""
    class_lost: float = 0.15
    """A class is reported where its median is this much above the dataset's; above 0, at most 1."""
    fewest: int = 20
    """Images that a median needs, in the dataset or a class; at least 1."""

    def __post_init__(self) -> None:
        require_shares(self, "crop", "least_lost", "class_lost", example=0.5)
        require_above(self, deviations=0, fewest=0)


def subject_map(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return how much each pixel looks like the subject: its distance from the colors of all four sides, times a centre prior.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]``.

    Returns:
        float32 ``[n, s, s]`` in 0..3.
    """
    whole, colors = np.asarray(thumbnails), np.asarray(thumbnails, np.float32)
    side = whole.shape[1]
    deep = max(side // _SIDE, 1)
    nearest = np.full(whole.shape[:3], np.inf, np.float32)
    for strip in (whole[:, :deep], whole[:, -deep:], whole[:, :, :deep], whole[:, :, -deep:]):
        pixels = np.sort(strip.reshape(len(whole), -1, 3), axis=1)  # of bytes: faster than a median of numbers
        half = pixels.shape[1] // 2
        middle = (pixels[:, half - 1].astype(np.float32) + pixels[:, half])[:, None] / 2
        spread = np.sqrt(np.square(pixels - middle).sum(-1).mean(1)) + np.float32(_NOISE)
        away = colors - middle[:, None]
        away *= away
        np.minimum(nearest, (away[..., 0] + away[..., 1] + away[..., 2]) / np.square(spread)[:, None, None], out=nearest)
    nearest = np.sqrt(nearest)
    at = (np.arange(side) + 0.5) / side - 0.5
    prior = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * _CENTRE**2))
    return np.asarray(np.clip(nearest - _STANDS_OUT, 0, _MOST) * prior, np.float32)


def lost_subject(thumbnails: npt.NDArray[np.uint8], width: Floats, height: Floats, crop: float) -> Floats:
    """Return the share of each image's subject outside a centre crop.

    Args:
        thumbnails: uint8 ``[n, s, s, 3]`` whole images, squashed; may be memory-mapped, read in blocks.
        width: ``[n]`` pixels; NaN where unknown.
        height: ``[n]`` pixels.
        crop: side of the central square, as a share of the shorter side.

    Returns:
        ``[n]`` in [0, 1]; NaN for images of unknown size, and where nothing stands out, unless the crop loses most of the area.
    """
    kept = crop * np.minimum(width, height)
    found = 1 - kept / height * kept / width
    found[~(found >= _PANORAMA)] = np.nan
    edges = np.arange(thumbnails.shape[1] + 1) / thumbnails.shape[1]
    for start in range(0, len(thumbnails), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        subject = subject_map(thumbnails[part])
        clear = subject.mean(axis=(1, 2)) >= _LEAST_SUBJECT
        inside = np.einsum("nyx,ny,nx->n", subject, _inside(kept[part] / height[part], edges), _inside(kept[part] / width[part], edges))
        with np.errstate(invalid="ignore", divide="ignore"):
            found[part] = np.where(clear, 1 - inside / subject.sum(axis=(1, 2)), found[part])
    return np.asarray(np.clip(found, 0, 1), np.float64)


def _inside(share: Floats, edges: Floats) -> Floats:
    """Return ``[n, cells]``: the part of each cell of a line that is inside its central share."""
    low, high = (1 - share[:, None]) / 2, (1 + share[:, None]) / 2
    return np.asarray(np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (edges[1] - edges[0]), np.float64)


def run(samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8], class_words: Mapping[str, str] | None = None, *, options: Options) -> Result:
    """Report images and classes that lose more than usual, and the dataset once; the score is the share lost."""
    from scipy.stats import median_abs_deviation

    width, height = (samples[name].to_numpy(np.float64, na_value=np.nan) for name in ("width", "height"))
    lost = lost_subject(thumbnails, width, height, options.crop)
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
    if cut >= max(_WORTH_SAYING * len(known), 1):
        evidence = {"images": len(known), "usual": usual, "much_lost": cut}
        message = f"{cut:,} of {len(known):,} images lose at least {options.least_lost:.0%} of the subject to the centre crop. Try padding."
        findings.append(Finding(kind="dataset_crop", score=cut / len(known), severity="info", message=message, evidence=evidence))
    return Result(lost.astype(np.float32), findings)


def _of_image(row: int, lost: float, usual: float, spread: float, aspect: float) -> Finding:
    evidence = {"lost": lost, "usual": usual, "deviations": (lost - usual) / spread, "aspect": aspect}
    message = f"The centre crop cuts off {lost:.0%} of what looks like the subject (typical here: {usual:.0%}). Pad the image or crop it by hand."
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
            message = f"Images of {name} lose {median:.0%} of the subject to the centre crop (typical here: {usual:.0%}). Pad this class."
            findings.append(Finding(kind="class_crop", score=median, severity="info", message=message, label=str(label), evidence=evidence))
    return findings

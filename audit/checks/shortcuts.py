"""Classes that something other than the object gives away: a property of the file or the picture, or the same mark in the same place.

A model takes the cheapest cue: a watermark, one camera, a border, a smaller file. It then scores well on a test split that has the cue too, and fails
where it is missing.

Every property is cut into bins; how well a class can be told from the bins alone is learned on one half of the images and measured on the other
(area under the ROC curve), and the false discovery rate is controlled over all classes and properties. Marks are looked for in the thumbnails: a
patch that is nearly the same in many images of one class, as its median over one half shows, and hardly anywhere else.

Blind spots: a cue may be the class itself (night scenes are dark): a finding says what gives the class away, not that it should not. Marks that
less than half of a class bears, that move about, are half transparent, or cover less than a tenth of the picture's side are not seen; nor is a cue
that only works together with another.

Papers: Geirhos et al. 2020, "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence; Li et al. 2023, "A Whac-A-Mole Dilemma", CVPR
(ImageNet's carton watermark); Benjamini & Yekutieli 2001, "The Control of the False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.checks.base import Finding, Result, Skipped
from audit.checks.properties import properties
from audit.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

_PATCH = 3
"""Side, in thumbnail pixels, of the patch that must be alike."""
_ALIKE = 8.0
"""Mean absolute difference, of 255, up to which two patches are the same: twice what JPEG compression and resizing leave."""
_REFERENCES = 500
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What counts as giving a class away."""

    least_auc: float = 0.75
    """Area under the ROC curve, 0.5 = chance, from which a property gives a class away; above 0.5 and at most 1."""
    least_share: float = 0.2
    """Share of a class that must bear a mark, above 0 and at most 1."""
    false_discoveries: float = 0.05
    """Of all findings, at most this share is expected to be chance; above 0 and below 1."""
    fewest: int = 20
    """Images a class needs to be judged, at least 4."""

    def __post_init__(self) -> None:
        ranges = {"least_auc": (0.5, 1), "least_share": (0, 1), "false_discoveries": (0, 1), "fewest": (3, float("inf"))}
        for name, (low, high) in ranges.items():
            if not low < getattr(self, name) <= high:
                raise ConfigError(
                    name, f"{getattr(self, name)} is out of range", f"use a number above {low:g}" + (f", up to {high:g}" if high < 9 else "")
                )


def separability(
    bins: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], half: npt.NDArray[np.bool_], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Tell how well each class can be told from all others by a binned property, out of sample.

    Bins are ranked by the smoothed ratio of their shares on one half, and the area under the ROC curve is taken on the other; both ways, averaged.

    Args:
        bins: ``[n]`` bin of each image.
        classes: ``[n]`` class codes, 0 to count - 1.
        half: ``[n]`` which half an image belongs to.
        count: number of classes.

    Returns:
        ``[c]`` areas, 0..1, 0.5 where a half lacks the class; ``[c]`` one-sided p-values (normal approximation of Mann & Whitney's U).
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
    return areas.mean(0), norm.sf(scores.sum(0) / np.sqrt(2))


def marks(
    own: npt.NDArray[np.uint8], half: npt.NDArray[np.bool_], others: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Find patches that are the same in many images of a class: alike to the median of its other half.

    Args:
        own: uint8 ``[n, s, s, 3]`` thumbnails of the class.
        half: ``[n]`` which half an image belongs to; each half needs an image.
        others: uint8 ``[m, s, s, 3]`` thumbnails of other classes.

    Returns:
        bool ``[n, s, s]`` where each image is like its class's other half; bool ``[m, s, s]`` where others are like the class; and ``[s, s]``
        one-sided p-values (binomial) that so many of the class are alike if it were like the others.
    """
    from scipy.stats import binom

    alike = np.zeros(own.shape[:3], bool)
    foreign = np.zeros(others.shape[:3], bool)
    for side in (False, True):
        middle = _twice_the_median(own[half == side])
        alike[half != side] = _alike(own[half != side], middle)
        foreign |= _alike(others, middle)
    expected = (foreign.sum(0) + 1) / (len(others) + 2)
    return alike, foreign, binom.sf(alike.sum(0) - 1, len(own), expected)


def _twice_the_median(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Return ``[s, s, 3]``; twice, as the median of an even number of values can lie between two."""
    # NumPy sorts bytes by counting where the sort must be stable: five times as fast as its median.
    ordered = np.sort(np.ascontiguousarray(pictures.reshape(len(pictures), -1).T), axis=1, kind="stable")
    low, high = (ordered[:, at].astype(np.int16) for at in ((len(pictures) - 1) // 2, len(pictures) // 2))
    return np.asarray((low + high).reshape(pictures.shape[1:]))


def _alike(pictures: npt.NDArray[np.uint8], twice_the_middle: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Return, ``[m, s, s]``, where the mean difference of the patch around each pixel is small; beyond the border the picture repeats its edge."""
    # Whole numbers, in steps of half a grey value, that fit 16 bits: four times as fast as floating point.
    difference = np.abs(np.int16(2) * pictures - twice_the_middle)
    gray = difference[..., 0] + difference[..., 1] + difference[..., 2]
    reach = _PATCH // 2
    for axis in (1, 2):
        width = [(0, 0)] * 3
        width[axis] = (reach, reach)
        padded, side = np.pad(gray, width, mode="edge"), gray.shape[axis]
        gray = sum(np.take(padded, range(shift, shift + side), axis) for shift in range(_PATCH))
    return np.asarray(gray <= 2 * 3 * _PATCH**2 * _ALIKE)


def run(samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8] | None = None, *, options: Options) -> Result | Skipped:
    """Report classes that a property or a mark gives away; images that show it have a score, other judged images 0."""
    judged = np.flatnonzero(((samples["outcome"] == "ok") & samples["label"].notna()).to_numpy(bool))
    table = samples.iloc[judged]
    sizes = table["label"].value_counts()
    named = sorted(sizes.index[sizes >= options.fewest])
    if len(named) < 2:
        return Skipped(f"fewer than two classes have {options.fewest} images each")
    kept = table["label"].isin(named).to_numpy()
    judged, table = judged[kept], table[kept]
    codes = pd.Index(named).get_indexer(table["label"]).astype(np.int64)
    half = np.array([int(content[:8], 16) % 2 == 1 for content in table["content_id"]])
    scores = np.full(len(samples), np.nan, np.float32)
    scores[judged] = 0
    findings = _by_property(table, judged, codes, half, named, scores, options)
    if thumbnails is not None:
        findings += _by_mark(table, judged, codes, half, named, thumbnails, scores, options)
    return Result(scores, findings)


def _by_property(
    table: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    half: npt.NDArray[np.bool_],
    named: list[str],
    scores: npt.NDArray[np.float32],
    options: Options,
) -> list[Finding]:
    from scipy.stats import false_discovery_control

    varied = [found for found in properties(table) if found.bins.min() < found.bins.max()]
    if not varied:
        return []
    measured = [separability(found.bins, codes, half, len(named)) for found in varied]
    areas, p = (np.stack(part) for part in zip(*measured, strict=True))
    adjusted = false_discovery_control(p, axis=None, method="by").reshape(p.shape)
    findings = []
    ids = table["sample_id"].to_numpy(object)
    for which, code in np.argwhere((adjusted <= options.false_discoveries) & (areas >= options.least_auc)).tolist():
        found, mine = varied[which], codes == code
        shares = [np.bincount(found.bins[side], minlength=len(found.told)) / side.sum() for side in (mine, ~mine)]
        telling = int(np.argmax(shares[0] - shares[1]))
        showing = np.flatnonzero(mine & (found.bins == telling))
        area = float(areas[which, code])
        scores[rows[showing]] = np.maximum(scores[rows[showing]], 2 * area - 1)
        message = (
            f"The class {named[code]!r} is given away by {found.name} alone (area under the ROC curve {area:.2f}, 0.5 is chance): "
            f"{shares[0][telling]:.0%} of it but {shares[1][telling]:.0%} of the rest have {found.told[telling]}; does that belong to the object?"
        )
        evidence = {
            "property": found.name,
            "auc": area,
            "adjusted_p": float(adjusted[which, code]),
            "value": found.told[telling],
            "share_of_class": float(shares[0][telling]),
            "share_of_rest": float(shares[1][telling]),
            "examples": sorted(ids[showing].tolist())[:_EXAMPLES],
        }
        findings.append(Finding(kind=_kind(found.name), score=2 * area - 1, message=message, label=named[code], evidence=evidence))
    return findings


def _kind(name: str) -> str:
    """A finding's id is made of its kind, so two properties of one class must have two."""
    return "property_" + "".join(character if character.isalnum() else "_" for character in name)


def _by_mark(
    table: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    half: npt.NDArray[np.bool_],
    named: list[str],
    thumbnails: npt.NDArray[np.uint8],
    scores: npt.NDArray[np.float32],
    options: Options,
) -> list[Finding]:
    from scipy.stats import false_discovery_control

    # Content hashes are random: the first of them are a fair sample, whatever the order of rows.
    order = np.argsort(table["content_id"].to_numpy(), kind="stable")
    sample = np.sort(order[:_REFERENCES])
    references = thumbnails[rows[sample]]
    seen = []
    for code in range(len(named)):
        mine = np.flatnonzero(codes == code)
        others = references[codes[sample] != code]
        if half[mine].all() or not half[mine].any() or not len(others):
            continue
        alike, foreign, p = marks(thumbnails[rows[mine]], half[mine], others)
        seen.append((code, mine, alike, foreign.mean(0), p))
    if not seen:
        return []
    every = np.stack([p for *_, p in seen])
    adjusted = false_discovery_control(every, axis=None, method="by").reshape(every.shape)
    ids = table["sample_id"].to_numpy(object)
    findings = []
    for (code, mine, alike, elsewhere, _), corrected in zip(seen, adjusted, strict=True):
        share = alike.mean(0)
        marked = (corrected <= options.false_discoveries) & (share >= options.least_share) & (share >= 3 * elsewhere)
        if not marked.any():
            continue
        strongest = np.unravel_index(np.argmax(np.where(marked, share - elsewhere, -1)), marked.shape)
        bearing = mine[alike[:, strongest[0], strongest[1]]]
        down, right = np.nonzero(marked)
        side = len(marked)
        box = [float(edge) / side for edge in (right.min(), down.min(), right.max() + 1, down.max() + 1)]
        value = float(share[strongest] - elsewhere[strongest])
        scores[rows[bearing]] = np.maximum(scores[rows[bearing]], value)
        message = (
            f"{share[strongest]:.0%} of the class {named[code]!r} but {elsewhere[strongest]:.0%} of other images look the same at the {_where(box)}: "
            "a mark, a border or a common background gives the class away; look at the examples."
        )
        evidence = {
            "box": box,
            "share_of_class": float(share[strongest]),
            "share_of_rest": float(elsewhere[strongest]),
            "adjusted_p": float(corrected[strongest]),
            "examples": sorted(ids[bearing].tolist())[:_EXAMPLES],
        }
        findings.append(Finding(kind="mark", score=min(value, 1.0), message=message, label=named[code], evidence=evidence))
    return findings


def _where(box: list[float]) -> str:
    """Say in words where a box lies; edges are shares of width and height."""
    left, top, right, bottom = box
    if right - left > 0.8 and bottom - top > 0.8:
        return "whole picture"
    across = "left" if right <= 0.5 else "right" if left >= 0.5 else ""
    down = "top" if bottom <= 0.5 else "bottom" if top >= 0.5 else ""
    return " ".join(filter(None, (down, across))) or "middle"

"""Marks that many images of one class bear at the same place: watermarks, logos, time stamps, frames, borders.

A model takes the mark for the class; it then scores well on a test split that bears it too, and fails where it is missing.

A picture's edges lie anywhere; a mark's lie at the same pixels each time, however faint it is. So the mean gradient of a class's thumbnails, against
that of other classes, shows the mark, and how well an image's own gradients agree with it tells whether the image bears it. The mark is learned on
one half of a class and looked for in the other, and the false discovery rate is controlled over all classes. Copies of a picture lie in one half
and count once.

Blind spots: a mark that moves about or changes its size; one smaller than a tenth of the picture's side; one on less than a fifth of a class, or on
all classes alike. Rigidly aligned pictures, such as scans and mug shots, agree in their edges too: a finding says what is alike, not that it should
not be. Of two or three classes the usual composition of one may be enough.

Papers: Dekel et al. 2017, "On the Effectiveness of Visible Watermarks", CVPR (consistent gradients); Li et al. 2023, "A Whac-A-Mole Dilemma", CVPR
(ImageNet's carton watermark); Benjamini & Yekutieli 2001, "The Control of the False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Finding, Result, Skipped
from audit.checks.class_halves import class_halves, skipped_without_classes
from audit.checks.class_names import class_name
from audit.checks.discoveries import adjusted_p
from audit.checks.option_ranges import require_between_0_and_1, require_shares
from audit.checks.robust_statistics import MAD_TO_SIGMA
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

_REFERENCES = 1000
_EXAMPLES = 5
_ROWS_AT_ONCE = 4096
_STEEPEST = 60
"""Gradients are cut here, of 255: one picture's hard edge counts no more than a mark's."""
_WINDOWS = ((4, 4), (8, 8), (4, 16))
"""Height and width, in thumbnail pixels, of the windows in which a mark is looked for: letters stand in a line."""
_CLEAR = 2.5
"""Standard errors from which a mean gradient is part of the mark."""
_PART_OF_BOX = 4.0
"""Standard errors from which a pixel counts as the mark's when its place is told."""
_TAIL = 0.99
_FAR = 4.0
"""An image bears the mark where it agrees more than 99% of other images, or four robust standard deviations more than usual: the lower of the two, as
other classes may bear it too."""
_TIMES = 3
"""So many times the share of other images must a class have."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What counts as a mark; conventions, set before anything was planted."""

    least_share: float = 0.2
    """Share of a class that must bear a mark, above 0 and at most 1."""
    false_discoveries: float = 0.05
    """Of all findings, at most this share is expected to be chance; above 0 and below 1."""
    fewest: int = 20
    """Pictures a class needs to be judged, at least 4; copies count once."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        require_between_0_and_1(self, "false_discoveries")
        if self.fewest < 4:
            raise ConfigError("fewest", f"{self.fewest} is too small", "use 4 or more")


class Mark(NamedTuple):
    """What the two halves of a class have in common at one place."""

    bears: Mask
    """``[n]`` which images of the class bear it."""
    share: float
    """Share of the class's pictures that bear it."""
    elsewhere: float
    """Share of the others that bear it."""
    p: float
    """One-sided, that so many of the half it was not learned on bear it by chance (beta-binomial)."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in thumbnail pixels."""

    def is_large(self, options: Options) -> bool:
        """Tell whether so many bear it that it is worth a finding, if it is not chance."""
        return self.share >= max(options.least_share, _TIMES * self.elsewhere)


class _Mean(NamedTuple):
    gradients: Floats
    """``[s, s, 6]``."""
    images: int


class _Template(NamedTuple):
    """What one half shows at one place, to be looked for in the other half."""

    window: tuple[slice, slice]
    judged: bool
    """The half it is looked for in."""
    weights: Floats
    """``[h, w, 6]``: an image agrees as well as the sum of its gradients times these."""
    enough: float
    """An image that agrees more bears the mark."""
    foreign: int
    """How many of the others do."""
    others: int

    def borne(self, images: npt.NDArray[np.int8]) -> Mask:
        return np.asarray(_agreement(images, self.window, self.weights) > self.enough)


def gradients(thumbnails: Bytes) -> npt.NDArray[np.int8]:
    """Return int8 ``[n, s, s, 6]``: each pixel's difference to the next on its right and below it, per colour, cut at +-60; 0 at the edge."""
    signed = thumbnails.astype(np.int16)
    found = np.zeros((*thumbnails.shape[:3], 6), np.int8)
    found[:, :, :-1, :3] = np.clip(np.diff(signed, axis=2), -_STEEPEST, _STEEPEST)
    found[:, :-1, :, 3:] = np.clip(np.diff(signed, axis=1), -_STEEPEST, _STEEPEST)
    return found


class GradientBlocks:
    """The gradients of images a block at a time: those of a class of 640,000 images would take 4 GB."""

    def __init__(self, thumbnails: Bytes, rows: npt.NDArray[np.int64]) -> None:
        self._thumbnails, self._rows = thumbnails, rows
        self._only = [gradients(thumbnails[rows])] if len(rows) <= _ROWS_AT_ONCE else None

    def __iter__(self) -> Iterator[npt.NDArray[np.int8]]:
        if self._only is not None:
            yield from self._only
            return
        for start in range(0, len(self._rows), _ROWS_AT_ONCE):
            yield gradients(self._thumbnails[self._rows[start : start + _ROWS_AT_ONCE]])


def find_marks(own: Iterable[npt.NDArray[np.int8]], half: Mask, counted: Mask, others: npt.NDArray[np.int8], other_half: Mask) -> list[Mark]:
    """Return what a class's images have in common, at most one mark per half and window; most are chance: see their ``p``.

    Args:
        own: blocks of ``[., s, s, 6]`` gradients of the class's ``n`` images in order; read twice.
        half: ``[n]`` which half an image belongs to.
        counted: ``[n]`` one image for each picture, of which each half needs one; of the others it is only told whether they bear the marks.
        others: ``[m, s, s, 6]`` gradients of images of other classes.
        other_half: ``[m]`` which half they belong to; each half needs an image.
    """
    spread = others.std(0, dtype=np.float32) + 1  # of 255: where nothing varies, a step of one is nothing
    # Images that made the difference agree with it less or more than others would: both sides of it come from the same half.
    mean = [_mean(own, counted & (half == side)) for side in (False, True)]
    usual = [_mean([others], other_half == side) for side in (False, True)]
    shift, errors = zip(*(_difference(mean[side], usual[side], spread) for side in (False, True)), strict=True)
    both = np.abs(_difference(_together(*mean), _together(*usual), spread)[1])
    places = []
    for learned in (False, True):
        energy = np.square(errors[learned]).sum(-1)
        for height, width in (shape for shape in _WINDOWS if max(shape) <= len(energy)):
            sums = np.lib.stride_tricks.sliding_window_view(energy, (height, width)).sum((2, 3))
            down, right = (int(at) for at in np.unravel_index(np.argmax(sums), sums.shape))
            window = (slice(down, down + height), slice(right, right + width))
            templates = []
            for side in (learned, not learned):
                weights = np.where(np.abs(errors[side][window]) >= _CLEAR, shift[side][window], 0) / spread[window]
                if weights.any():
                    templates.append(_template(window, weights, others[other_half != side], judged=not side))
            places.append((window, learned, templates))
    bears = np.zeros((len(places), len(half)), bool)
    start = 0
    for block in own:
        for side in (False, True):
            rows = np.flatnonzero(half[start : start + len(block)] == side)
            images = block[rows]
            for place, (_, _, templates) in enumerate(places):
                for template in (one for one in templates if one.judged == side):
                    bears[place, start + rows] = template.borne(images)
        start += len(block)
    clear = both.max(-1) >= _PART_OF_BOX
    return [
        _mark(bears[at], half, counted, templates, _box(clear, window), learned=learned) for at, (window, learned, templates) in enumerate(places)
    ]


def _mean(blocks: Iterable[npt.NDArray[np.int8]], chosen: Mask) -> _Mean:
    total, start = 0, 0
    for block in blocks:
        total = total + block[chosen[start : start + len(block)]].sum(0, dtype=np.int64)
        start += len(block)
    images = int(chosen.sum())
    return _Mean(np.asarray(total, np.float32) / np.float32(images), images)


def _together(first: _Mean, second: _Mean) -> _Mean:
    images = first.images + second.images
    return _Mean((first.gradients * first.images + second.gradients * second.images) / np.float32(images), images)


def _difference(own: _Mean, others: _Mean, spread: Floats) -> tuple[Floats, Floats]:
    """Return how far the mean gradients are apart, ``[s, s, 6]``, in spreads and in standard errors; 0 where the others' is the steeper one.

    Of two classes, the one without a mark is as far from the other as the other from it.
    """
    steeper = np.abs(own.gradients) > np.abs(others.gradients)
    shift = (own.gradients - others.gradients) * steeper / spread
    return shift, shift / np.sqrt(np.float32(1 / own.images + 1 / others.images))


def _agreement(images: npt.NDArray[np.int8], window: tuple[slice, slice], weights: Floats) -> Floats:
    return np.asarray(np.tensordot(images[:, *window].astype(np.float32), weights, 3), np.float32)


def _template(window: tuple[slice, slice], weights: Floats, others: npt.NDArray[np.int8], *, judged: bool) -> _Template:
    """Tell from images of other classes, which had no part in the weights, how well an image must agree."""
    agreeing = _agreement(others, window, weights)
    middle = np.median(agreeing)
    enough = min(np.quantile(agreeing, _TAIL), middle + _FAR * MAD_TO_SIGMA * np.median(np.abs(agreeing - middle)))
    return _Template(window, judged, weights, float(enough), int((agreeing > enough).sum()), len(agreeing))


def _mark(bears: Mask, half: Mask, counted: Mask, templates: list[_Template], box: tuple[int, int, int, int], *, learned: bool) -> Mark:
    """Count who bears it; the p-value is of the half that had no part in choosing the window."""
    from scipy.stats import betabinom

    p = 1.0
    for template in (one for one in templates if one.judged != learned):
        judged = bears[counted & (half == template.judged)]
        # How many images bear it by chance is itself known from few: a binomial of the estimate would find marks in small datasets.
        p = float(betabinom.sf(int(judged.sum()) - 1, len(judged), template.foreign + 1, template.others - template.foreign))
    elsewhere = max((template.foreign / template.others for template in templates), default=0.0)
    return Mark(bears, float(bears[counted].mean()), elsewhere, p, box)


def _box(clear: Mask, window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    """Return the edges of all that stands out and hangs together with what stands out in the window; of the window where nothing does."""
    from scipy.ndimage import label

    parts, _ = label(clear, np.ones((3, 3)))
    seen = np.unique(parts[window])
    down, right = np.nonzero(np.isin(parts, seen[seen > 0]))
    if not len(down):
        return window[1].start, window[0].start, window[1].stop, window[0].stop
    side = len(clear)
    return int(right.min()), int(down.min()), min(int(right.max()) + 2, side), min(int(down.max()) + 2, side)  # a gradient lies between two pixels


def run(samples: pd.DataFrame, thumbnails: Bytes, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes that bear a mark; images that bear it score how much more often their class does, other judged images 0."""
    judged, named, codes, half, counted = class_halves(samples, pairs, options.fewest)
    if len(named) < 2:
        return skipped_without_classes(samples, f"fewer than two classes have {options.fewest} pictures each")
    # Content hashes are random: the first of them are a fair sample, whatever the order of rows.
    once = np.flatnonzero(counted)
    sample = np.sort(once[np.lexsort((codes[once], samples["content_id"].to_numpy(object)[judged[once]]))[:_REFERENCES]])
    references = gradients(thumbnails[judged[sample]])
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(named)))[:-1])
    found: list[tuple[int, Mark]] = []
    for code, mine in enumerate(members):
        other = codes[sample] != code
        halves = half[mine][counted[mine]], half[sample[other]]
        if any(one.all() or not one.any() for one in halves):
            continue
        blocks = GradientBlocks(thumbnails, judged[mine])
        found += [(code, mark) for mark in find_marks(blocks, half[mine], counted[mine], references[other], halves[1])]
    scores = np.full(len(samples), np.nan, np.float32)
    scores[judged] = 0
    adjusted = adjusted_p([mark.p for _, mark in found], [mark.is_large(options) for _, mark in found], method="by")
    best: dict[int, tuple[float, Mark]] = {}
    for (code, mark), q in zip(found, adjusted.tolist(), strict=True):
        if q <= options.false_discoveries and (code not in best or (q, -mark.share) < (best[code][0], -best[code][1].share)):
            best[code] = q, mark
    findings = []
    for code, (q, mark) in best.items():
        rows = judged[members[code][mark.bears]]
        scores[rows] = mark.share - mark.elsewhere
        findings.append(_finding(named[code], mark, q, thumbnails.shape[1], sorted(samples["sample_id"].iloc[rows]), class_words))
    return Result(scores, findings)


def _finding(name: str, mark: Mark, adjusted: float, side: int, bearing: list[str], class_words: Mapping[str, str]) -> Finding:
    box = [edge / side for edge in mark.box]
    message = (
        f"{mark.share:.0%} of the class {class_name(name, class_words)} but {mark.elsewhere:.0%} of other images clearly bear the same mark at the "
        f"{_where(box)}: a watermark, a logo, a frame or a pose gives the class away; look at the examples, then crop it off or collect others."
    )
    evidence = {
        "box": box,
        "share_of_class": mark.share,
        "share_of_rest": mark.elsewhere,
        "adjusted_p": adjusted,
        "images": len(bearing),
        "examples": bearing[:_EXAMPLES],
    }
    return Finding(kind="mark", score=mark.share - mark.elsewhere, message=message, label=name, evidence=evidence)


def _where(box: list[float]) -> str:
    """Say in words where a box lies; edges are shares of width and height."""
    left, top, right, bottom = box
    if right - left > 0.8 and bottom - top > 0.8:
        return "whole picture"
    across = "left" if right <= 0.5 else "right" if left >= 0.5 else ""
    down = "top" if bottom <= 0.5 else "bottom" if top >= 0.5 else ""
    return " ".join(filter(None, (down, across))) or "middle"

"""Marks that many images of one class bear at the same place: watermarks, logos, time stamps, frames, borders.

A model takes the mark for the class; it then scores well on a test split that bears it too, and fails where it is missing.

A picture's edges lie anywhere; a mark's lie at the same pixels each time, however faint it is. So the mean gradient of a class's thumbnails, against
that of other classes, shows the mark, and how well an image's own gradients agree with it tells whether the image bears it. The mark is learned on
one half of a class and looked for in the other, and the false discovery rate is controlled over all classes.

Blind spots: a mark that moves about or changes its size; one smaller than a tenth of the picture's side; one on less than a fifth of a class, or on
all classes alike. Rigidly aligned pictures, such as scans and mug shots, agree in their edges too: a finding says what is alike, not that it should
not be.

Papers: Dekel et al. 2017, "On the Effectiveness of Visible Watermarks", CVPR (consistent gradients); Li et al. 2023, "A Whac-A-Mole Dilemma", CVPR
(ImageNet's carton watermark); Benjamini & Yekutieli 2001, "The Control of the False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Finding, Result, Skipped
from audit.checks.class_halves import class_halves
from audit.checks.class_names import class_name
from audit.checks.option_ranges import require_between_0_and_1, require_shares
from audit.checks.robust_statistics import MAD_TO_SIGMA
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

_REFERENCES = 1000
_EXAMPLES = 5
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
    """Images a class needs to be judged, at least 4."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        require_between_0_and_1(self, "false_discoveries")
        if self.fewest < 4:
            raise ConfigError("fewest", f"{self.fewest} is too small", "use 4 or more")


class Mark(NamedTuple):
    """What the two halves of a class have in common at one place."""

    bears: Mask
    """``[n]`` which images of the class bear it."""
    elsewhere: float
    """Share of the others that bear it."""
    p: float
    """One-sided, that so many of the half it was not learned on bear it by chance (beta-binomial)."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in thumbnail pixels."""


def gradients(thumbnails: Bytes) -> npt.NDArray[np.int8]:
    """Return int8 ``[n, s, s, 6]``: each pixel's difference to the next on its right and below it, per colour, cut at +-60; 0 at the edge."""
    signed = thumbnails.astype(np.int16)
    found = np.zeros((*thumbnails.shape[:3], 6), np.int8)
    found[:, :, :-1, :3] = np.clip(np.diff(signed, axis=2), -_STEEPEST, _STEEPEST)
    found[:, :-1, :, 3:] = np.clip(np.diff(signed, axis=1), -_STEEPEST, _STEEPEST)
    return found


def find_marks(own: npt.NDArray[np.int8], half: Mask, others: npt.NDArray[np.int8], other_half: Mask) -> list[Mark]:
    """Return what a class's images have in common, at most one mark per half and window; most are chance: see their ``p``.

    Args:
        own: ``[n, s, s, 6]`` gradients of the class.
        half: ``[n]`` which half an image belongs to; each half needs an image.
        others: ``[m, s, s, 6]`` gradients of images of other classes.
        other_half: ``[m]`` which half they belong to; each half needs an image.
    """
    spread = others.std(0, dtype=np.float32) + 1  # of 255: where nothing varies, a step of one is nothing
    # Images that made the difference agree with it less or more than others would: both sides of it come from the same half.
    shift, errors = {}, {}
    for side in (False, True):
        shift[side], errors[side] = _difference(own[half == side], others[other_half == side], spread)
    both = np.abs(_difference(own, others, spread)[1])
    found = []
    for learned in (False, True):
        energy = np.square(errors[learned]).sum(-1)
        for height, width in (shape for shape in _WINDOWS if max(shape) <= len(energy)):
            sums = np.lib.stride_tricks.sliding_window_view(energy, (height, width)).sum((2, 3))
            down, right = (int(at) for at in np.unravel_index(np.argmax(sums), sums.shape))
            window = (slice(down, down + height), slice(right, right + width))
            bears, elsewhere, p = _agreement(window, shift, errors, spread, (own, half), (others, other_half), learned=learned)
            found.append(Mark(bears, elsewhere, p, _box(both.max(-1) >= _PART_OF_BOX, window)))
    return found


def _difference(own: npt.NDArray[np.int8], others: npt.NDArray[np.int8], spread: Floats) -> tuple[Floats, Floats]:
    """Return how far the mean gradients are apart, ``[s, s, 6]``, in spreads and in standard errors."""
    shift = (own.mean(0, dtype=np.float32) - others.mean(0, dtype=np.float32)) / spread
    return shift, shift / np.sqrt(np.float32(1 / len(own) + 1 / len(others)))


def _agreement(
    window: tuple[slice, slice],
    shift: Mapping[bool, Floats],
    errors: Mapping[bool, Floats],
    spread: Floats,
    class_images: tuple[npt.NDArray[np.int8], Mask],
    other_images: tuple[npt.NDArray[np.int8], Mask],
    *,
    learned: bool,
) -> tuple[Mask, float, float]:
    """Look in each half for the mark as the other half shows it; the p-value is of the half that had no part in choosing the window."""
    from scipy.stats import betabinom

    (own, half), (others, other_half) = class_images, other_images
    bears = np.zeros(len(own), bool)
    elsewhere, p = 0.0, 1.0
    for side in (learned, not learned):
        template = np.where(np.abs(errors[side][window]) >= _CLEAR, shift[side][window], 0) / spread[window]
        if not template.any():
            continue
        agreeing = np.tensordot(others[other_half != side][:, *window].astype(np.float32), template, 3)
        middle = np.median(agreeing)
        enough = min(np.quantile(agreeing, _TAIL), middle + _FAR * MAD_TO_SIGMA * np.median(np.abs(agreeing - middle)))
        judged = half != side
        bears[judged] = np.tensordot(own[judged][:, *window].astype(np.float32), template, 3) > enough
        foreign = int((agreeing > enough).sum())
        elsewhere = max(elsewhere, foreign / len(agreeing))
        if side == learned:
            # How many images bear it by chance is itself known from few: a binomial of the estimate would find marks in small datasets.
            p = float(betabinom.sf(int(bears[judged].sum()) - 1, int(judged.sum()), foreign + 1, len(agreeing) - foreign))
    return bears, elsewhere, p


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


def run(samples: pd.DataFrame, thumbnails: Bytes, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes that bear a mark; images that bear it score how much more often their class does, other judged images 0."""
    from scipy.stats import false_discovery_control

    judged, named, codes, half = class_halves(samples, options.fewest)
    if len(named) < 2:
        return Skipped(f"fewer than two classes have {options.fewest} images each")
    # Content hashes are random: the first of them are a fair sample, whatever the order of rows.
    sample = np.sort(np.argsort(samples["content_id"].to_numpy()[judged], kind="stable")[:_REFERENCES])
    references = gradients(thumbnails[judged[sample]])
    best: dict[str, tuple[npt.NDArray[np.int64], Mark]] = {}
    tests: list[float] = []
    for code, name in enumerate(named):
        mine = np.flatnonzero(codes == code)
        other = codes[sample] != code
        halves = half[mine], half[sample[other]]
        if any(one.all() or not one.any() for one in halves):
            continue
        found = find_marks(gradients(thumbnails[judged[mine]]), halves[0], references[other], halves[1])
        tests += [mark.p for mark in found]
        best[name] = mine, min(found, key=lambda mark: (mark.p, -mark.bears.mean()))
    scores = np.full(len(samples), np.nan, np.float32)
    scores[judged] = 0
    adjusted = dict(zip(tests, false_discovery_control(tests, method="by") if tests else (), strict=True))
    findings = []
    for name, (mine, mark) in best.items():
        share = float(mark.bears.mean())
        if adjusted[mark.p] <= options.false_discoveries and share >= max(options.least_share, _TIMES * mark.elsewhere):
            rows = judged[mine[mark.bears]]
            scores[rows] = share - mark.elsewhere
            findings.append(_finding(name, mark, float(adjusted[mark.p]), thumbnails.shape[1], sorted(samples["sample_id"].iloc[rows]), class_words))
    return Result(scores, findings)


def _finding(name: str, mark: Mark, adjusted: float, side: int, bearing: list[str], class_words: Mapping[str, str]) -> Finding:
    box = [edge / side for edge in mark.box]
    share = float(mark.bears.mean())
    message = (
        f"{share:.0%} of the class {class_name(name, class_words)} but {mark.elsewhere:.0%} of other images clearly bear the same mark at the "
        f"{_where(box)}: a watermark, a logo, a frame or a pose gives the class away; look at the examples, then crop it off or collect others."
    )
    evidence = {
        "box": box,
        "share_of_class": share,
        "share_of_rest": mark.elsewhere,
        "adjusted_p": adjusted,
        "images": len(bearing),
        "examples": bearing[:_EXAMPLES],
    }
    return Finding(kind="mark", score=share - mark.elsewhere, message=message, label=name, evidence=evidence)


def _where(box: list[float]) -> str:
    """Say in words where a box lies; edges are shares of width and height."""
    left, top, right, bottom = box
    if right - left > 0.8 and bottom - top > 0.8:
        return "whole picture"
    across = "left" if right <= 0.5 else "right" if left >= 0.5 else ""
    down = "top" if bottom <= 0.5 else "bottom" if top >= 0.5 else ""
    return " ".join(filter(None, (down, across))) or "middle"

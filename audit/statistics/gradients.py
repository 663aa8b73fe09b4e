"""Find marks: gradients that many thumbnails of a class share at the same pixels, and the images that have them.

Source: Dekel et al. 2017, "On the Effectiveness of Visible Watermarks", CVPR (consistent gradients).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

_ROWS_AT_ONCE = 4096
_STEEPEST = 60
"""Gradients are clipped here, of 255: a hard edge of one image counts no more than a mark's."""
_WINDOWS = ((4, 4), (8, 8), (4, 16))
"""Height and width, in thumbnail pixels, of the windows searched for a mark; the wide one is for lines of text."""
_CLEAR = 2.5
"""Standard errors from which a mean gradient is part of the mark."""
_PART_OF_BOX = 4.0
"""Standard errors from which a pixel is inside the reported box."""
_MOVED = 2
"""Thumbnail pixels by which an image is moved, to see whether it then fits better."""
_FLAT_PART = 0.6
"""Share of the gradients of a mark that are too flat to place it."""
_TAIL = 0.99
_FAR = 4.0
"""An image has the mark if it agrees more than 99% of other images, or four robust standard deviations above their median. The lower of the two
counts, as other classes may have the mark too."""


class Mark(NamedTuple):
    """Gradients that both halves of a class share in one window."""

    bears: Mask
    """``[n]`` images of the class that have it."""
    share: float
    """Share of the class's duplicate sets that have it."""
    elsewhere: float
    """Share of the other classes' images that have it."""
    opposed: float
    """Share of the class's duplicate sets that disagree with it as strongly."""
    p: float
    """One-sided p-value of the count in the half it was not learned on (beta-binomial)."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in thumbnail pixels."""


class _Mean(NamedTuple):
    gradients: Floats
    """``[s, s, 6]``."""
    images: int


class _Template(NamedTuple):
    """A mark learned on one half of a class, to be searched for in the other half."""

    window: tuple[slice, slice]
    judged: bool
    """The half to search."""
    weights: Floats
    """``[h, w, 6]``: an image's agreement is the sum of its gradients times these."""
    enough: float
    """Images with more agreement have the mark."""
    opposite: float
    """``enough`` reflected at the median: images with less agreement disagree as strongly."""
    foreign: int
    """Number of other classes' images that have the mark."""
    others: int

    def borne(self, images: npt.NDArray[np.int8]) -> Mask:
        """Return ``[2, n]``: images that have the mark, and images that disagree with it as strongly."""
        agreeing = _agreement(images, self.window, self.weights)
        return np.stack([agreeing > self.enough, agreeing < self.opposite])


def gradients(thumbnails: Bytes) -> npt.NDArray[np.int8]:
    """Return int8 ``[n, s, s, 6]``: differences to the next pixel right and below, per color, clipped to +-60; 0 at the edge."""
    signed = thumbnails.astype(np.int16)
    found = np.zeros((*thumbnails.shape[:3], 6), np.int8)
    found[:, :, :-1, :3] = np.clip(np.diff(signed, axis=2), -_STEEPEST, _STEEPEST)
    found[:, :-1, :, 3:] = np.clip(np.diff(signed, axis=1), -_STEEPEST, _STEEPEST)
    return found


class GradientBlocks:
    """Iterate over the gradients of images in blocks: those of a class of 640,000 images would take 4 GB."""

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
    """Return candidate marks of a class, at most one per half and window; most are chance, see their ``p``.

    Args:
        own: blocks of ``[., s, s, 6]`` gradients of the class's ``n`` images in order; iterated twice.
        half: ``[n]`` the half of each image.
        counted: ``[n]`` one image per duplicate set, at least one in each half; the others are only searched for the marks.
        others: ``[m, s, s, 6]`` gradients of images of other classes.
        other_half: ``[m]`` the half of each of them; each half needs an image.
    """
    spread = others.std(0, dtype=np.float32) + 1  # of 255: where nothing varies, a difference of one is not significant
    # Agreement is biased for images that the difference was learned on, so both of its means come from one half, and the other half is searched.
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
    bears = np.zeros((len(places), 2, len(half)), bool)
    start = 0
    for block in own:
        for side in (False, True):
            rows = np.flatnonzero(half[start : start + len(block)] == side)
            images = block[rows]
            for place, (_, _, templates) in enumerate(places):
                for template in (one for one in templates if one.judged == side):
                    bears[place, :, start + rows] = template.borne(images).T
        start += len(block)
    clear = both.max(-1) >= _PART_OF_BOX
    return [
        _mark(bears[at], half, counted, templates, _box(clear, window), learned=learned) for at, (window, learned, templates) in enumerate(places)
    ]


def fixed_share(images: npt.NDArray[np.int8], half: Mask, box: tuple[int, int, int, int]) -> float:
    """Return how many images fit the shared gradients best where they are, and not moved by up to two pixels.

    A mark is fixed to the frame of the image. The outline of a subject is fixed to the subject, which is never at quite the same place.

    Args:
        images: ``[n, s, s, 6]`` gradients of images that have the mark.
        half: ``[n]`` the half of each image: what is shared is learned on one and compared with the other.
        box: left, top, right and bottom of the mark, in thumbnail pixels.

    Returns:
        Share of the images in [0, 1]; NaN if a half is empty.
    """
    if half.all() or not half.any():
        return float("nan")
    left, top, right, bottom = box
    moved = np.pad(images, ((0, 0), (_MOVED, _MOVED), (_MOVED, _MOVED), (0, 0)))
    shifts = [(down, across) for down in range(2 * _MOVED + 1) for across in range(2 * _MOVED + 1)]
    at_rest = shifts.index((_MOVED, _MOVED))
    fits = 0
    for side in (False, True):
        shared = images[half == side, top:bottom, left:right].mean(0, dtype=np.float32)
        steep = np.abs(shared)
        shared = np.where(steep >= np.quantile(steep, _FLAT_PART), shared, 0)
        judged = moved[half != side]
        agreement = [
            np.tensordot(judged[:, top + down : bottom + down, left + across : right + across].astype(np.float32), shared, 3)
            for down, across in shifts
        ]
        fits += int((np.argmax(agreement, axis=0) == at_rest).sum())
    return fits / len(images)


def share_at_border(images: npt.NDArray[np.int8], box: tuple[int, int, int, int]) -> float:
    """Return the share of the energy of the mean gradient in a box that is within an eighth of the side from the border of the image."""
    left, top, right, bottom = box
    energy = np.square(images.mean(0, dtype=np.float32)).sum(-1)
    side = len(energy)
    inner = slice(side // 8, side - side // 8)
    border = np.ones((side, side), bool)
    border[inner, inner] = False
    inside = energy[top:bottom, left:right]
    return float(inside[border[top:bottom, left:right]].sum() / max(inside.sum(), 1e-9))


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
    """Return the difference of the mean gradients, ``[s, s, 6]``, in standard deviations and in standard errors.

    It is 0 where the others' mean is steeper: of two classes, the one without the mark differs just as much as the one with it.
    """
    steeper = np.abs(own.gradients) > np.abs(others.gradients)
    shift = (own.gradients - others.gradients) * steeper / spread
    return shift, shift / np.sqrt(np.float32(1 / own.images + 1 / others.images))


def _agreement(images: npt.NDArray[np.int8], window: tuple[slice, slice], weights: Floats) -> Floats:
    return np.asarray(np.tensordot(images[:, *window].astype(np.float32), weights, 3), np.float32)


def _template(window: tuple[slice, slice], weights: Floats, others: npt.NDArray[np.int8], *, judged: bool) -> _Template:
    """Set the threshold of agreement from images of other classes that the weights were not learned on."""
    from scipy.stats import median_abs_deviation

    agreeing = _agreement(others, window, weights)
    middle = np.median(agreeing)
    enough = min(np.quantile(agreeing, _TAIL), middle + _FAR * median_abs_deviation(agreeing, scale="normal"))
    return _Template(window, judged, weights, float(enough), float(2 * middle - enough), int((agreeing > enough).sum()), len(agreeing))


def _mark(borne: Mask, half: Mask, counted: Mask, templates: list[_Template], box: tuple[int, int, int, int], *, learned: bool) -> Mark:
    """Summarise the images that have the mark or disagree, ``[2, n]``; the p-value uses the half that did not choose the window."""
    from scipy.stats import betabinom

    p, (bears, disagrees) = 1.0, borne
    for template in (one for one in templates if one.judged != learned):
        judged = bears[counted & (half == template.judged)]
        # The chance rate is estimated from few images, too: a plain binomial would find marks in small datasets.
        p = float(betabinom.sf(int(judged.sum()) - 1, len(judged), template.foreign + 1, template.others - template.foreign))
    elsewhere = max((template.foreign / template.others for template in templates), default=0.0)
    return Mark(bears, float(bears[counted].mean()), elsewhere, float(disagrees[counted].mean()), p, box)


def _box(clear: Mask, window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    """Return the bounding box of the significant regions that touch the window; the window itself if there are none."""
    from scipy.ndimage import label

    parts, _ = label(clear, np.ones((3, 3)))
    seen = np.unique(parts[window])
    down, right = np.nonzero(np.isin(parts, seen[seen > 0]))
    if not len(down):
        return window[1].start, window[0].start, window[1].stop, window[0].stop
    side = len(clear)
    return int(right.min()), int(down.min()), min(int(right.max()) + 2, side), min(int(down.max()) + 2, side)  # a gradient spans two pixels

"""Marks that many images of one class have in the same position: watermarks, logos, time stamps, frames.

Why it matters: a model learns the mark instead of the class. It then scores well on a test split that has the mark too, and fails without it.

How it works: the edges of images are anywhere, but those of a mark are at the same pixels each time, however faint. So the mean gradient of a class's
thumbnails, compared with other classes, shows the mark, and an image has the mark if its own gradients agree with it. If more than a third as many
images of the class disagree as strongly, it is not a mark but the usual composition of the class: the edges of a mark run one way. Nor is it a mark
if images fit better when moved by a pixel or two, or if it fills the image: a mark is fixed to the frame, an outline, a pose or a drawn digit to the
subject. The mark is learned on one half of a class and tested on the other, and the false discovery rate is controlled over all classes. Copies of an
image are in one half and count once.

Blind spots: a mark that moves or changes its size; one smaller than a tenth of the image's side; one on less than a fifth of a class, or on all
classes alike. Rigidly aligned images, such as scans and mug shots, agree in their edges too: a finding shows what is alike, not that it is wrong.
With two or three classes, the usual composition of one may be enough.

Papers: Dekel et al. 2017, "On the Effectiveness of Visible Watermarks", CVPR (consistent gradients); Li et al. 2023, "A Whac-A-Mole Dilemma", CVPR
(ImageNet's carton watermark); Benjamini & Yekutieli 2001, "The Control of the False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_between_0_and_1, require_shares, skipped_without_classes
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.statistics.gradients import GradientBlocks, find_marks, fixed_share, gradients, share_at_border
from audit.statistics.multiple_testing import adjusted_p
from audit.statistics.split_half import class_halves

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    from audit.statistics.gradients import Mark

KINDS = ("mark",)
FAMILY: Family = "bias"
EVIDENCE = {
    "box": Evidence("Box"),
    "share_of_class": Evidence("Share of the class", "share"),
    "share_of_rest": Evidence("Share of the other classes", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "images": Evidence("Images"),
    "examples": Evidence("Examples"),
}

_REFERENCES = 1000
_EXAMPLES = 5
_TIMES = 3
"""Smallest ratio of the share of a class to that of other images, and to the share of its images that disagree as much."""
_FIXED = 0.8
"""Share of the images with a mark that must fit it best where they are: at least 0.93 for planted marks, at most 0.21 for outlines of clothes and
hands."""
_FILLS = 1 / 3
"""Share of the image from which a box is a frame, with most of its edges at the border, or the subject."""
_FRAME = 0.5
_COMPARED = 1000
"""Images with a mark that are moved."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, set before any mark was planted."""

    least_share: float = 0.2
    """Share of a class that must have the mark; above 0, at most 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the findings; above 0, below 1."""
    fewest: int = 20
    """Distinct images that a class needs; at least 4."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        require_between_0_and_1(self, "false_discoveries")
        if self.fewest < 4:
            raise ConfigError("fewest", f"{self.fewest} is too small", "use 4 or more")


def is_large(mark: Mark, least_share: float) -> bool:
    """Return whether enough images have a mark to report it, if it is not chance.

    If a class merely has more edges in a position than other classes, its images disagree with their mean gradient as often as they agree, since an
    edge runs from dark to light or from light to dark. The edges of a mark run one way.
    """
    return mark.share >= max(least_share, _TIMES * mark.elsewhere, _TIMES * mark.opposed)


def is_fixed(mark: Mark, images: npt.NDArray[np.int8], half: npt.NDArray[np.bool_]) -> bool:
    """Return whether a mark is fixed to the frame of the image, as an overlay is, and does not fill it, as a subject does.

    Args:
        mark: a candidate.
        images: ``[n, s, s, 6]`` gradients of images that have it.
        half: ``[n]`` the half of each.
    """
    left, top, right, bottom = mark.box
    fills = (right - left) * (bottom - top) > _FILLS * images.shape[1] ** 2
    return fixed_share(images, half, mark.box) >= _FIXED and not (fills and share_at_border(images, mark.box) < _FRAME)


def run(
    samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8], pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options
) -> Result | Skipped:
    """Report classes with a mark; images with it score by how much more often their class has it, other judged images 0."""
    judged, named, codes, half, counted = class_halves(samples, pairs, options.fewest)
    if len(named) < 2:
        return skipped_without_classes(samples, f"fewer than two classes have {options.fewest} distinct images")
    # Content hashes are random, so the first of them are a fair sample that does not depend on the order of rows.
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
    real = []
    for code, mark in found:
        mine = members[code]
        bearing = mine[mark.bears & counted[mine]][:_COMPARED]
        real.append(is_large(mark, options.least_share) and is_fixed(mark, gradients(thumbnails[judged[bearing]]), half[bearing]))
    adjusted = adjusted_p([mark.p for _, mark in found], real, method="by")
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


def _finding(name: str, mark: Mark, adjusted: float, side: int, marked: list[str], class_words: Mapping[str, str]) -> Finding:
    box = [edge / side for edge in mark.box]
    message = (
        f"{mark.share:.0%} of the class {class_name(name, class_words)} but {mark.elsewhere:.0%} of other images have the same mark {_where(box)}, "
        "such as a watermark, a logo or a frame; a model can learn it instead of the class. "
        "Look at the examples, then crop it off or collect others."
    )
    evidence = {
        "box": box,
        "share_of_class": mark.share,
        "share_of_rest": mark.elsewhere,
        "adjusted_p": adjusted,
        "images": len(marked),
        "examples": marked[:_EXAMPLES],
    }
    return Finding(kind="mark", score=mark.share - mark.elsewhere, message=message, label=name, evidence=evidence)


def _where(box: list[float]) -> str:
    """Return the position of a box in words; edges are shares of width and height."""
    left, top, right, bottom = box
    if right - left > 0.8 and bottom - top > 0.8:
        return "all over the image"
    across = "left" if right <= 0.5 else "right" if left >= 0.5 else ""
    down = "top" if bottom <= 0.5 else "bottom" if top >= 0.5 else ""
    return f"at the {' '.join(filter(None, (down, across))) or 'middle'}"

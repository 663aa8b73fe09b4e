"""Images that two classes fit about equally: two objects, or an ambiguous one, with a single label.

Why it matters: with a softmax, only one of two objects can be correct, and a valid answer is scored as wrong. About a fifth of ImageNet's validation
images show several of its classes (Beyer et al.); accuracy on those is least reliable.

How it works: an image counts if the out-of-sample prediction gives nearly all of its probability to two classes, with the second nearly as likely as
the first. Two classes that are confused in general are excluded; see ``class_overlap``.

Blind spots: it measures doubt, not the number of objects. An image of one ambiguous object divides its probability as well, and most images of two
objects do not: models fitted on one label per image are overconfident. The docs page has the figures.

Papers: Beyer et al. 2020, "Are we done with ImageNet?"; Tsipras et al. 2020, "From ImageNet to Image Classification", ICML; Wilson 1927, "Probable
Inference, the Law of Succession, and Statistical Inference", JASA (the intervals); Benjamini & Hochberg 1995, "Controlling the False Discovery Rate",
JRSS B.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import SEVERAL_LABELS, Evidence, Family, Finding, Result, Skipped, require_between_0_and_1, require_shares
from audit.labels.class_names import class_name
from audit.labels.statistics import confusion_matrix, overlapping, wilson
from audit.statistics.multiple_testing import adjusted_p, share_p

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

KINDS = ("two_classes", "class_of_two")
FAMILY: Family = "bias"
TITLE = "Multi-object"
EVIDENCE = {
    "classes": Evidence("Classes"),
    "probabilities": Evidence("Probabilities", "share"),
    "images": Evidence("Images"),
    "two_classes": Evidence("Images that two classes fit"),
    "share": Evidence("Share", "share"),
    "share_interval": Evidence("Its 95% interval", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "most_often": Evidence("Most frequent other classes"),
}

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, since there are no judged images to measure them on."""

    least_ratio: float = 0.7
    """Smallest ratio of the second probability to the first; above 0, at most 1."""
    least_together: float = 0.8
    """Smallest sum of the two probabilities; above 0, at most 1."""
    confusable: float = 0.1
    """Two classes are excluded if in both directions this share of the images is predicted as the other class; above 0, at most 1."""
    class_share: float = 0.1
    """A class is reported where significantly more than this share of its images counts; above 0, at most 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the reported classes; above 0, below 1."""

    def __post_init__(self) -> None:
        require_between_0_and_1(self, "false_discoveries")
        require_shares(self, "least_ratio", "least_together", "confusable", "class_share", example=0.5)


def two_likeliest(predictions: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the two likeliest classes of each row with their probabilities, likeliest first, ties by code; NaN for NaN rows.

    Args:
        predictions: float32 ``[n, c]``, c at least 2; may be memory-mapped, read in blocks.

    Returns:
        ``[n, 2]`` codes and float32 ``[n, 2]``.
    """
    classes, likely = np.zeros((len(predictions), 2), np.int64), np.full((len(predictions), 2), np.nan, np.float32)
    for start in range(0, len(predictions), _ROWS_AT_ONCE):
        block = np.asarray(predictions[start : start + _ROWS_AT_ONCE])
        first = block.argmax(1)  # argpartition would choose among equal probabilities differently on different processors
        others = np.where(np.arange(block.shape[1]) == first[:, None], -np.inf, block)
        at = np.stack([first, others.argmax(1)], 1)
        classes[start : start + len(block)], likely[start : start + len(block)] = at, np.take_along_axis(block, at, 1)
    return classes, likely


def run(
    samples: pd.DataFrame,
    predictions: npt.NDArray[np.float32],
    label_quality: pd.DataFrame,
    classes: list[str],
    class_words: Mapping[str, str] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report images that two classes fit equally, and classes with many of them; the score is ratio times sum of the two probabilities."""
    if len(classes) < 3:
        return Skipped("fewer than three classes: doubt between two says nothing about a second object")
    if samples["labels"].notna().any():
        return SEVERAL_LABELS
    words = class_words or {}
    pair, likely = two_likeliest(predictions)
    given = label_quality["given"].to_numpy(np.int64)
    confused = overlapping(confusion_matrix(given, label_quality["predicted"].to_numpy(), len(classes)), options.confusable)
    together, ratio = likely.sum(axis=1), likely[:, 1] / likely[:, 0]
    apart = ~np.asarray(confused[pair[:, 0], pair[:, 1]])
    scores = np.where(np.isfinite(together), np.clip(ratio * together * apart, 0, 1), np.nan).astype(np.float32)
    counts = apart & (ratio >= options.least_ratio) & (together >= options.least_together)
    rows = np.flatnonzero(counts)
    findings = [_of_image(int(row), pair[row], likely[row], float(scores[row]), classes, words) for row in rows]
    return Result(scores, [*findings, *_of_classes(given, np.isfinite(together), counts, pair, classes, words, options)])


def _of_image(
    row: int, pair: npt.NDArray[np.int64], likely: npt.NDArray[np.float32], score: float, classes: list[str], words: Mapping[str, str]
) -> Finding:
    first, second = (class_name(classes[code], words) for code in pair.tolist())
    shares = [float(share) for share in likely]
    message = (
        f"Fits {first} ({shares[0]:.0%}) and {second} ({shares[1]:.0%}) about equally. Decide which it is, or give it both labels if it shows both."
    )
    evidence = {"classes": [classes[code] for code in pair.tolist()], "probabilities": shares}
    return Finding(kind="two_classes", score=score, severity="info", message=message, row=row, evidence=evidence)


def _of_classes(
    given: npt.NDArray[np.int64],
    judged: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.bool_],
    pair: npt.NDArray[np.int64],
    classes: list[str],
    words: Mapping[str, str],
    options: Options,
) -> list[Finding]:
    labelled = judged & (given >= 0)
    images = np.bincount(given[labelled], minlength=len(classes))
    several = np.bincount(given[labelled & counts], minlength=len(classes))
    lows, highs = wilson(several.astype(np.float64), images.astype(np.float64))
    some = np.flatnonzero(images)
    adjusted = np.ones(len(classes))
    adjusted[some] = adjusted_p(share_p(several[some], images[some], options.class_share), several[some] > options.class_share * images[some])
    findings = []
    for code in np.flatnonzero(adjusted <= options.false_discoveries).tolist():
        mine = pair[labelled & counts & (given == code)]
        others = Counter(classes[other] for other in mine.ravel().tolist() if other != code)
        commonest = [name for name, _ in sorted(others.items(), key=lambda entry: (-entry[1], entry[0]))[:3]]
        share = several[code] / images[code]
        name, other = class_name(classes[code], words), class_name(commonest[0], words)
        message = f"{share:.0%} of the images of {name} fit another class as well, most often {other}. Score them with all valid labels."
        evidence = {
            "images": int(images[code]),
            "two_classes": int(several[code]),
            "share": float(share),
            "share_interval": [float(lows[code]), float(highs[code])],
            "adjusted_p": float(adjusted[code]),
            "most_often": commonest,
        }
        findings.append(Finding(kind="class_of_two", score=float(share), severity="info", message=message, label=classes[code], evidence=evidence))
    return findings

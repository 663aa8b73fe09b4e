"""Classes that something other than the object gives away: a property of the file or of the picture.

A model takes the cheapest cue: one camera, a white background, a smaller file. It then scores well on a test split that has the cue too, and fails
where it is missing. Marks such as watermarks have a check of their own, ``marks``.

Every property is cut into bins; how well a class can be told from the bins alone is learned on one half of the images and measured on the other
(area under the ROC curve), and the false discovery rate is controlled over all classes and properties. Copies of a picture lie in one half and count
once. A value such as a camera is also reported where a part of a class has it and few others do.

A metadata column that restates the label, or gives most classes away, is one finding about the dataset.

Blind spots: a cue may be the class itself (night scenes are dark): a finding says what gives the class away, not that it should not. A cue that only
works together with another is not seen.

Papers: Geirhos et al. 2020, "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence; Benjamini & Yekutieli 2001, "The Control of the
False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Finding, Result
from audit.checks.class_halves import ClassHalves, class_halves, skipped_without_classes
from audit.checks.class_names import class_name
from audit.checks.discoveries import adjusted_p
from audit.checks.label_columns import label_told, most_classes, restates
from audit.checks.option_ranges import require_shares
from audit.checks.properties import border_properties, properties, told_apart
from audit.checks.telling_values import chance_of, medians, standing_out, telling
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt
    import pandas as pd

    from audit.checks.base import Skipped
    from audit.checks.properties import Property
    from audit.checks.telling_values import Telling

_EXAMPLES = 5
_NONE = np.zeros(0, np.int64)
_TOGETHER = ("values", "share_of_class", "share_of_rest")
_MEDIANS = ("median_of_class", "median_of_rest")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What counts as giving a class away."""

    least_auc: float = 0.75
    """Area under the ROC curve, 0.5 = chance, from which a property gives a class away; above 0.5 and at most 1."""
    least_share: float = 0.2
    """Share of a class that must have a value which at most a third of that share of the others has, such as a camera; above 0 and at most 1."""
    false_discoveries: float = 0.05
    """Of all findings, at most this share is expected to be chance; above 0 and below 1."""
    fewest: int = 20
    """Pictures a class needs to be judged, at least 4; copies count once."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        ranges = {"least_auc": (0.5, 1), "false_discoveries": (0, 1), "fewest": (3, float("inf"))}
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
    # Each half teaches the other, so chance moves both ways alike: their mean varies as one of them does, not as two independent ones.
    return areas.mean(0), norm.sf(scores.mean(0))


def run(
    samples: pd.DataFrame,
    pairs: pd.DataFrame,
    class_words: Mapping[str, str],
    thumbnails: npt.NDArray[np.uint8] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report classes that a property gives away; images that show it have a score, other judged images 0."""
    classes = class_halves(samples, pairs, options.fewest)
    if len(classes.named) < 2:
        return skipped_without_classes(samples, f"fewer than two classes have {options.fewest} pictures each")
    table = samples.iloc[classes.rows]
    found = [*properties(table), *(border_properties(thumbnails, classes.rows) if thumbnails is not None else ())]
    scores = np.full(len(samples), np.nan, np.float32)
    scores[classes.rows] = 0
    varied = [one for one in found if one.bins.min() < one.bins.max()]
    judged, findings = _Judged(classes, class_words, table["sample_id"].to_numpy(object)), []
    for finding, showing in _given_away(varied, judged, options):
        findings.append(finding)
        scores[classes.rows[showing]] = np.maximum(scores[classes.rows[showing]], finding.score)
    return Result(scores, findings)


class _Judged(NamedTuple):
    classes: ClassHalves
    words: Mapping[str, str]
    ids: npt.NDArray[np.object_]
    """``[m]`` sample ids."""


def _given_away(varied: list[Property], judged: _Judged, options: Options) -> Iterator[tuple[Finding, npt.NDArray[np.int64]]]:
    """Yield the findings, each with the places of the images that show it."""
    codes, count, counted = judged.classes.codes, len(judged.classes.named), judged.classes.counted
    names, tested = [found.name for found in varied], []
    # A finding's id is made of its kind, so two properties of one class must have two.
    kinds = dict(zip(names, told_apart([_kind(name) for name in names], names), strict=True))
    for found in varied:
        given, restated = np.zeros(count, bool), False
        if found.written is not None:
            told = label_told(found.written[counted], codes[counted], count)
            given = adjusted_p(told.p, told.above >= 2 * options.least_auc - 1, method="by") <= options.false_discoveries
            restated = restates(found.name, told)
        if restated or most_classes(given):
            yield _of_column(found.name, kinds[found.name], given, judged, restated=restated), _NONE
        else:  # only these are tested: of so many true discoveries as the others make, chance would be let in
            tested.append(found)
    if not tested:
        return
    measured = [separability(found.bins[counted], codes[counted], judged.classes.half[counted], count) for found in tested]
    areas, p = (np.stack(part) for part in zip(*measured, strict=True))
    counts = [_counts(found, judged.classes) for found in tested]
    valued = [which for which, found in enumerate(tested) if not found.ordered]
    out = {which: standing_out(counts[which], options.least_share) for which in valued}
    partly = np.array([chance_of(counts[which], out[which]) for which in valued]).reshape(-1, count)
    large = [areas >= options.least_auc, np.array([out[which].any(1) for which in valued], bool).reshape(-1, count)]
    adjusted = adjusted_p(np.concatenate([p, partly]), np.concatenate(large), method="by")
    certain = adjusted[: len(tested)]
    certain[valued] = np.minimum(certain[valued], adjusted[len(tested) :])
    for which, found in enumerate(tested):
        given = certain[which] <= options.false_discoveries
        if found.written is not None and most_classes(given):
            yield _of_column(found.name, kinds[found.name], given, judged), _NONE
        elif given.any():
            test = _Test(found, counts[which], areas[which], certain[which], out.get(which))
            yield from _of_classes(test, kinds[found.name], given, judged, options)


class _Test(NamedTuple):
    found: Property
    counts: npt.NDArray[np.int64]
    """``[c, w]`` pictures of each class in each bin."""
    areas: npt.NDArray[np.float64]
    certain: npt.NDArray[np.float64]
    """``[c]`` adjusted p-values."""
    out: npt.NDArray[np.bool_] | None
    """``[c, w]`` which values stand out; None for numbers."""


def _counts(found: Property, classes: ClassHalves) -> npt.NDArray[np.int64]:
    """Return ``[c, w]`` how many pictures of each class are in each bin."""
    count, width = len(classes.named), len(found.told)
    return np.bincount((classes.codes * width + found.bins)[classes.counted], minlength=count * width).reshape(count, width)


def _of_column(column: str, kind: str, given: npt.NDArray[np.bool_], judged: _Judged, *, restated: bool = False) -> Finding:
    """Return the one finding about a column that tells the label, or most of it."""
    name, codes = column.removeprefix("column "), np.flatnonzero(given)[:_EXAMPLES]
    classes = [judged.classes.named[code] for code in codes]
    evidence = {
        "property": column,
        "classes_given_away": int(given.sum()),
        "classes_judged": len(given),
        "example_classes": classes,
        "examples": [min(judged.ids[judged.classes.codes == code]) for code in codes],
    }
    if restated:
        message = f"The column {name!r} restates the label: it was not looked at as a shortcut; keep it out of what a model is given."
    else:
        such = ", ".join(class_name(label, judged.words) for label in classes[:3])
        message = (
            f"The column {name!r} alone gives away {given.sum():,} of {len(given):,} classes, such as {such}; "
            "if it is not the label once more, collect so that classes share its values."
        )
    return Finding(kind=kind, score=float(given.mean()), severity="info" if restated else "warning", message=message, evidence=evidence)


def _of_classes(
    test: _Test, kind: str, given: npt.NDArray[np.bool_], judged: _Judged, options: Options
) -> Iterator[tuple[Finding, npt.NDArray[np.int64]]]:
    """Yield a finding for each class that a property gives away, with the places of the images that show it."""
    found, counts, areas, certain, out = test
    named, codes, ranked = judged.classes.named, judged.classes.codes, _ranked(found, judged.classes)
    tellings = {}
    for code in np.flatnonzero(given).tolist():
        own, others = (side[code] / side[code].sum() for side in (counts, counts.sum(0) - counts))
        among = out[code] if out is not None and areas[code] < options.least_auc else None
        tellings[code] = telling(found, own, others, among), others - own, among is not None
    if len(named) == 2:  # what gives one of two classes away is what the other lacks: the one of which it says more is told
        tellings = dict([min(tellings.items(), key=lambda item: (item[1][0].share_of_rest, item[0]))])
    for code, (told, less, partly) in tellings.items():
        area, mine = float(areas[code]), np.flatnonzero(codes == code)
        showing = mine[told.bins[found.bins[mine]]]
        evidence = {
            "property": found.name,
            "auc": area,
            "adjusted_p": float(certain[code]),
            "value": told.value,
            "share_of_class": told.share_of_class,
            "share_of_rest": told.share_of_rest,
            **({} if told.together is None else {"likelier_values": dict(zip(_TOGETHER, told.together, strict=True))}),
            **({} if ranked is None else dict(zip(_MEDIANS, medians(ranked[0], np.flatnonzero(ranked[1] == code)), strict=True))),
            "examples": [name for _, name in sorted(zip(less[found.bins[showing]], judged.ids[showing], strict=True))[:_EXAMPLES]],
        }
        message = (
            f"The class {class_name(named[code], judged.words)} is {'partly ' if partly else ''}given away by {found.name} alone "
            f"(area under the ROC curve {area:.2f}, 0.5 is chance): {told.share_of_class:.0%} of it but {told.share_of_rest:.0%} of the rest have "
            f"{f'{found.name} ' if told.is_range else ''}{told.value}{_further(told)}; look at the examples: if it is not the object's own, collect "
            "or crop so that classes share it."
        )
        yield Finding(kind=kind, score=max(2 * area - 1, 0), message=message, label=named[code], evidence=evidence), showing


def _further(told: Telling) -> str:
    if told.together is None:
        return ""
    values, own, rest = told.together
    return f", and {own:.0%} but {rest:.0%} one of the {values} values that are likelier in it"


def _ranked(found: Property, classes: ClassHalves) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None:
    """Return the numbers of a property, sorted, and the class of each; None where there are none that may be told."""
    if found.numbers is None:
        return None
    known = np.flatnonzero(classes.counted & np.isfinite(found.numbers))
    order = known[np.argsort(found.numbers[known], kind="stable")]
    return found.numbers[order], classes.codes[order]


def _kind(name: str) -> str:
    return "property_" + "".join(character if character.isalnum() else "_" for character in name)

"""Classes that a property of the file or image predicts, such as camera, format, background or brightness.

Why it matters: a model learns the easiest cue: one camera, a white background, a smaller file. It then scores well on a test split that has the cue
too, and fails without it. Marks such as watermarks have their own check, ``marks``.

How it works: each property is cut into bins. On one half of the images it is learned how well the bins alone separate a class from the others, on the
other half this is measured (area under the ROC curve); the false discovery rate is controlled over all classes and properties. Copies of an image are
in one half and count once. A value such as a camera is also reported if a part of a class has it and few others do.

A metadata column that restates the label, and a column or a property of files such as the camera that predicts most classes, is one finding about the
dataset. The remaining classes are still judged one by one.

What predicts a class and may be the look of its subject, such as brightness or color, is a note. Properties of the file and of the border of the
image are warnings.

Blind spots: a cue may be part of the class (night scenes are dark): a finding shows what predicts the class, not that it is wrong. Cues that only
work in combination are not found.

Papers: Geirhos et al. 2020, "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence; Benjamini & Yekutieli 2001, "The Control of the
False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, require_shares, skipped_without_classes
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.statistics.bins import further_range, medians, most_distinctive
from audit.statistics.label_columns import label_association, most_classes, restates
from audit.statistics.multiple_testing import adjusted_p
from audit.statistics.properties import border_properties, distinct_kinds, properties, with_commonest
from audit.statistics.separability import tested_properties
from audit.statistics.split_half import ClassHalves, class_halves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt
    import pandas as pd

    from audit.checks.base import Skipped
    from audit.statistics.bins import Distinctive
    from audit.statistics.properties import Property
    from audit.statistics.separability import Tested

KINDS = ("property_*",)
FAMILY: Family = "bias"
EVIDENCE = {
    "property": Evidence("Property", "name"),
    "auc": Evidence("AUC (0.5 = chance)"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "value": Evidence("Value"),
    "share_of_class": Evidence("Share of the class", "share"),
    "share_of_rest": Evidence("Share of the other classes", "share"),
    "median_of_class": Evidence("Median of the class"),
    "median_of_rest": Evidence("Median of the other classes"),
    "likelier_values": Evidence("Values more likely in the class"),
    "values": Evidence("Values"),
    "further_range": Evidence("Second range"),
    "examples": Evidence("Examples"),
    "classes_given_away": Evidence("Classes it predicts"),
    "classes_judged": Evidence("Classes tested"),
    "images": Evidence("Images"),
    "example_classes": Evidence("Example classes"),
    "example_values": Evidence("Example values"),
}

_LOOKS = ("brightness", "contrast", "sharpness", "entropy", "chroma", "luma_p01", "luma_p99", "bytes per pixel")
"""Properties that the subject itself has: that a dark class is dark is a note."""
_CLEARLY = 0.8
"""Area under the ROC curve from which that is worth a note."""

_EXAMPLES = 5
_NONE = np.zeros(0, np.int64)
_TOGETHER = ("values", "share_of_class", "share_of_rest")
_MEDIANS = ("median_of_class", "median_of_rest")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, set before any shortcut was planted."""

    least_auc: float = 0.75
    """Area under the ROC curve (0.5 = chance) from which a class is reported; above 0.5, at most 1."""
    least_share: float = 0.2
    """Share of a class with one value, such as a camera, that at most a third of that share of the others has; above 0, at most 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the findings; above 0, below 1."""
    fewest: int = 20
    """Distinct images that a class needs; at least 4."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        ranges = {"least_auc": (0.5, 1), "false_discoveries": (0, 1), "fewest": (3, float("inf"))}
        for name, (low, high) in ranges.items():
            if not low < getattr(self, name) <= high:
                raise ConfigError(
                    name, f"{getattr(self, name)} is out of range", f"use a number above {low:g}" + (f", up to {high:g}" if high < 9 else "")
                )


def run(
    samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], thumbnails: npt.NDArray[np.uint8] | None = None, *, options: Options
) -> Result | Skipped:
    """Report classes that a property predicts; images that show the cue have a score, other judged images 0."""
    classes = class_halves(samples, pairs, options.fewest)
    if len(classes.named) < 2:
        return skipped_without_classes(samples, f"fewer than two classes have {options.fewest} distinct images")
    table = samples.iloc[classes.rows]
    found = [*properties(table), *(border_properties(thumbnails, classes.rows) if thumbnails is not None else ())]
    scores = np.full(len(samples), np.nan, np.float32)
    scores[classes.rows] = 0
    varied = [one for one in found if one.bins.min() < one.bins.max()]
    judged, findings = _Judged(classes, class_words, table["sample_id"].to_numpy(object)), []
    for finding, showing, score in _findings(varied, judged, options):
        findings.append(finding)
        scores[classes.rows[showing]] = np.maximum(scores[classes.rows[showing]], score)
    return Result(scores, findings)


class _Judged(NamedTuple):
    classes: ClassHalves
    words: Mapping[str, str]
    ids: npt.NDArray[np.object_]
    """``[m]`` sample ids."""


class _Given(NamedTuple):
    """The classes that a property predicts, for one finding about the dataset."""

    classes: npt.NDArray[np.bool_]
    """``[c]`` whether it predicts the class."""
    strength: npt.NDArray[np.float64]
    """``[c]`` how well, 0..1."""
    showing: npt.NDArray[np.bool_]
    """``[m]`` whether an image shows the cue."""
    ranges: Mapping[int, str]
    """Code of a class -> text of its cue, where that is not the value of its examples."""


class _Found(NamedTuple):
    finding: Finding
    showing: npt.NDArray[np.int64]
    """Positions of the images that show the cue."""
    score: npt.NDArray[np.float64] | float
    """Score of those images."""


def _findings(varied: list[Property], judged: _Judged, options: Options) -> Iterator[_Found]:
    """Yield the findings about all properties."""
    codes, count, counted = judged.classes.codes, len(judged.classes.named), judged.classes.counted
    names, kept = [found.name for found in varied], []
    # A finding's id depends on its kind, so two properties of one class need different kinds.
    kinds = dict(zip(names, distinct_kinds(["property_" + re.sub(r"\W", "_", name) for name in names], names), strict=True))
    for found in varied:
        given = _Given(np.zeros(count, bool), np.zeros(count), np.zeros(len(codes), bool), {})
        if found.written is not None:
            link = label_association(found.written[counted], codes[counted], count)
            wholly = adjusted_p(link.p, link.above >= 2 * options.least_auc - 1, method="by") <= options.false_discoveries
            by_value = _Given(wholly, link.above, wholly[codes] & (found.written == link.value[codes]), {})
            if restates(found.column, link):
                yield _of_dataset(found, kinds[found.name], by_value, judged, restated=True)
                continue
            given = by_value if most_classes(wholly) else given
        # Only the commonest values have bins, so choose them by the remaining classes.
        kept.append((with_commonest(found, counted & ~given.classes[codes]) if given.classes.any() else found, given))
    if not kept:
        return
    # Classes that are already covered are not tested: so many true discoveries would let false ones through.
    tests = ~np.stack([given.classes for _, given in kept])
    tested = tested_properties([found for found, _ in kept], judged.classes, tests, least_auc=options.least_auc, least_share=options.least_share)
    for test, (found, by_value) in zip(tested, kept, strict=True):
        left = test.certain <= options.false_discoveries
        if found.name in _LOOKS:
            left &= test.areas >= _CLEARLY
        as_one = found.written is not None and most_classes(left[~by_value.classes])
        given = _together(by_value, test, left, judged.classes, options) if as_one else by_value
        if given.classes.any():
            yield _of_dataset(found, kinds[found.name], given, judged)
        if left.any() and not as_one:
            yield from _of_classes(test, kinds[found.name], left, judged, options)


class _Cue(NamedTuple):
    """The range or value that predicts one class."""

    first: Distinctive
    further: Distinctive | None
    partly: bool
    less: npt.NDArray[np.float64]
    """``[w]`` share of the other classes minus share of the class."""

    @property
    def bins(self) -> npt.NDArray[np.bool_]:
        """``[w]`` whether images in a bin show the cue."""
        return self.first.bins if self.further is None else self.first.bins | self.further.bins


def _cue(test: Tested, code: int, options: Options) -> _Cue:
    own, others = test.counts[code], test.counts.sum(0) - test.counts[code]
    among = test.out[code] if test.out is not None and test.areas[code] < options.least_auc else None
    first = most_distinctive(test.found, own, others, among)
    limits = {"least_share": options.least_share, "chance": options.false_discoveries}
    further = further_range(test.found, own, others, first, **limits) if first.is_range else None
    return _Cue(first, further, among is not None, others / others.sum() - own / own.sum())


def _together(given: _Given, test: Tested, left: npt.NDArray[np.bool_], classes: ClassHalves, options: Options) -> _Given:
    """Return the classes that one value each predicts, together with the other classes that the property predicts."""
    strength, showing, ranges = given.strength.copy(), given.showing.copy(), dict(given.ranges)
    order = np.argsort(classes.codes, kind="stable")
    starts = np.searchsorted(classes.codes[order], np.arange(len(left) + 1))
    for code in np.flatnonzero(left).tolist():
        cue, mine = _cue(test, code, options), order[starts[code] : starts[code + 1]]
        strength[code], ranges[code] = max(2 * test.areas[code] - 1, 0), cue.first.value
        showing[mine] = cue.bins[test.found.bins[mine]]
    return _Given(given.classes | left, strength, showing, ranges)


def _of_dataset(found: Property, kind: str, given: _Given, judged: _Judged, *, restated: bool = False) -> _Found:
    """Return the finding about a property that predicts most classes; the classes that it predicts best come first."""
    named, codes = judged.classes.named, judged.classes.codes
    shown = [code for code in np.lexsort((np.arange(len(named)), -given.strength)).tolist() if given.classes[code]][:_EXAMPLES]
    examples = [min(np.flatnonzero(given.showing & (codes == code)).tolist(), key=judged.ids.__getitem__) for code in shown]
    values = [given.ranges.get(code) or found.value_name(at) for code, at in zip(shown, examples, strict=True)]
    evidence = {
        "property": found.name,
        "classes_given_away": int(given.classes.sum()),
        "classes_judged": len(named),
        "images": int(given.showing.sum()),
        "example_classes": [named[code] for code in shown],
        "example_values": values,
        "examples": judged.ids[examples].tolist(),
    }
    showing = np.flatnonzero(given.showing) if found.column is None else _NONE
    if restated:
        message = f"The {found.words} restates the label, so it was not tested as a shortcut. Do not use it as an input of a model."
    else:
        such = ", ".join(f"{class_name(named[code], judged.words)} by {value}" for code, value in list(zip(shown, values, strict=True))[:3])
        advice = "Collect images, or re-encode all files alike," if found.column is None else "Unless it is the label, collect images"
        message = (
            f"The {found.words} alone predicts {given.classes.sum():,} of {len(named):,} classes, such as {such}. "
            f"{advice} so that classes share its values."
        )
    score, severity = float(given.classes.mean()), "info" if restated else "warning"
    finding = Finding(kind=kind, score=score, severity=severity, message=message, evidence=evidence)
    return _Found(finding, showing, given.strength[codes[showing]])


def _of_classes(test: Tested, kind: str, given: npt.NDArray[np.bool_], judged: _Judged, options: Options) -> Iterator[_Found]:
    """Yield a finding for each class that a property predicts."""
    found, named, codes = test.found, judged.classes.named, judged.classes.codes
    ranked = _ranked(found, judged.classes)
    cues = {code: _cue(test, code, options) for code in np.flatnonzero(given).tolist()}
    if len(named) == 2:  # report the property once, for the class whose value is rarer in the other
        cues = dict([min(cues.items(), key=lambda item: (item[1].first.share_of_rest, item[0]))])
    for code, cue in cues.items():
        first, area, mine = cue.first, float(test.areas[code]), np.flatnonzero(codes == code)
        showing = mine[cue.bins[found.bins[mine]]]
        evidence = {
            "property": found.name,
            "auc": area,
            "adjusted_p": float(test.certain[code]),
            **_shares(first),
            **({} if cue.further is None else {"further_range": _shares(cue.further)}),
            **({} if first.together is None else {"likelier_values": dict(zip(_TOGETHER, first.together, strict=True))}),
            **({} if ranked is None else dict(zip(_MEDIANS, medians(ranked[0], np.flatnonzero(ranked[1] == code)), strict=True))),
            "examples": _examples(cue, found.bins[showing], judged.ids[showing]),
        }
        message = (
            f"The class {class_name(named[code], judged.words)} can {'partly ' if cue.partly else ''}be predicted from the {found.words} alone "
            f"(AUC {area:.2f}, 0.5 = chance): {first.share_of_class:.0%} of it but {first.share_of_rest:.0%} of the other classes have "
            f"{f'{found.words} ' if first.is_range else ''}{first.value}{_further(cue)}. Look at the examples. If this is not a property of the "
            "object, collect or crop images so that classes share it."
        )
        score = max(2 * area - 1, 0)
        severity = "info" if found.name in _LOOKS else "warning"
        yield _Found(Finding(kind=kind, score=score, severity=severity, message=message, label=named[code], evidence=evidence), showing, score)


def _shares(found: Distinctive) -> dict[str, str | float]:
    return {"value": found.value, "share_of_class": found.share_of_class, "share_of_rest": found.share_of_rest}


def _examples(cue: _Cue, bins: npt.NDArray[np.int64], ids: npt.NDArray[np.object_]) -> list[str]:
    """Return ids of images that show the cue, from the most distinctive bins; two ranges alternate."""
    parts = [cue.first.bins] if cue.further is None else [cue.first.bins, cue.further.bins]
    ranked = [[name for _, name in sorted(zip(cue.less[bins[part[bins]]], ids[part[bins]], strict=True))[:_EXAMPLES]] for part in parts]
    return [name for turn in zip_longest(*ranked) for name in turn if name is not None][:_EXAMPLES]


def _further(cue: _Cue) -> str:
    if cue.further is not None:
        return f", and {cue.further.share_of_class:.0%} but {cue.further.share_of_rest:.0%} {cue.further.value}"
    if cue.first.together is None:
        return ""
    values, own, rest = cue.first.together
    return f", and {own:.0%} but {rest:.0%} any of {values} values that are more likely in it"


def _ranked(found: Property, classes: ClassHalves) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None:
    """Return the numbers of a property, sorted, and the class of each; None if it has none or they are masked."""
    if found.numbers is None:
        return None
    known = np.flatnonzero(classes.counted & np.isfinite(found.numbers))
    order = known[np.argsort(found.numbers[known], kind="stable")]
    return found.numbers[order], classes.codes[order]

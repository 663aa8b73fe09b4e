"""Classes that something other than the object gives away: a property of the file or of the picture.

A model takes the cheapest cue: one camera, a white background, a smaller file. It then scores well on a test split that has the cue too, and fails
where it is missing. Marks such as watermarks have a check of their own, ``marks``.

Every property is cut into bins; how well a class can be told from the bins alone is learned on one half of the images and measured on the other
(area under the ROC curve), and the false discovery rate is controlled over all classes and properties. Copies of a picture lie in one half and count
once. A value such as a camera is also reported where a part of a class has it and few others do.

A metadata column that restates the label, and a column, a camera or another value of files that gives most classes away, is one finding about the
dataset; classes that it does not give away are judged one by one all the same.

Blind spots: a cue may be the class itself (night scenes are dark): a finding says what gives the class away, not that it should not. A cue that only
works together with another is not seen.

Papers: Geirhos et al. 2020, "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence; Benjamini & Yekutieli 2001, "The Control of the
False Discovery Rate under Dependency", Annals of Statistics.
"""

from __future__ import annotations

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
    "auc": Evidence("AUC (0.5 by chance, 1 always)"),
    "adjusted_p": Evidence("p, corrected for many tests", "p"),
    "value": Evidence("Value"),
    "share_of_class": Evidence("Share of the class", "share"),
    "share_of_rest": Evidence("Share of the other classes", "share"),
    "median_of_class": Evidence("Median of the class"),
    "median_of_rest": Evidence("Median of the other classes"),
    "likelier_values": Evidence("Likelier values"),
    "values": Evidence("Values"),
    "further_range": Evidence("Further range"),
    "examples": Evidence("Examples"),
    "classes_given_away": Evidence("Classes given away"),
    "classes_judged": Evidence("Of classes"),
    "images": Evidence("Images"),
    "example_classes": Evidence("Example classes"),
    "example_values": Evidence("Example values"),
}

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
    for finding, showing, score in _given_away(varied, judged, options):
        findings.append(finding)
        scores[classes.rows[showing]] = np.maximum(scores[classes.rows[showing]], score)
    return Result(scores, findings)


class _Judged(NamedTuple):
    classes: ClassHalves
    words: Mapping[str, str]
    ids: npt.NDArray[np.object_]
    """``[m]`` sample ids."""


class _Given(NamedTuple):
    """The classes that a property gives away, as one matter of the dataset."""

    classes: npt.NDArray[np.bool_]
    """``[c]``."""
    strength: npt.NDArray[np.float64]
    """``[c]`` how far they can be told, 0..1."""
    showing: npt.NDArray[np.bool_]
    """``[m]`` which images show it."""
    ranges: Mapping[int, str]
    """What gives a class away, in words, where that is not the value of its examples."""


class _Found(NamedTuple):
    finding: Finding
    showing: npt.NDArray[np.int64]
    """Places of the images that show it."""
    score: npt.NDArray[np.float64] | float
    """Theirs."""


def _given_away(varied: list[Property], judged: _Judged, options: Options) -> Iterator[_Found]:
    """Yield the findings."""
    codes, count, counted = judged.classes.codes, len(judged.classes.named), judged.classes.counted
    names, kept = [found.name for found in varied], []
    # A finding's id is made of its kind, so two properties of one class must have two.
    kinds = dict(zip(names, distinct_kinds([_kind(name) for name in names], names), strict=True))
    for found in varied:
        given = _Given(np.zeros(count, bool), np.zeros(count), np.zeros(len(codes), bool), {})
        if found.written is not None:
            told = label_association(found.written[counted], codes[counted], count)
            wholly = adjusted_p(told.p, told.above >= 2 * options.least_auc - 1, method="by") <= options.false_discoveries
            by_value = _Given(wholly, told.above, wholly[codes] & (found.written == told.value[codes]), {})
            if restates(found.column, told):
                yield _of_dataset(found, kinds[found.name], by_value, judged, restated=True)
                continue
            given = by_value if most_classes(wholly) else given
        # Of many values only the commonest have bins: those of the classes that are left must be among them.
        kept.append((with_commonest(found, counted & ~given.classes[codes]) if given.classes.any() else found, given))
    if not kept:
        return
    # Classes that are told already are not tested: of so many true discoveries as they make, chance would be let in.
    asked = ~np.stack([given.classes for _, given in kept])
    tested = tested_properties([found for found, _ in kept], judged.classes, asked, least_auc=options.least_auc, least_share=options.least_share)
    for test, (found, by_value) in zip(tested, kept, strict=True):
        left = test.certain <= options.false_discoveries
        is_one_matter = found.written is not None and most_classes(left[~by_value.classes])
        given = _together(by_value, test, left, judged.classes, options) if is_one_matter else by_value
        if given.classes.any():
            yield _of_dataset(found, kinds[found.name], given, judged)
        if left.any() and not is_one_matter:
            yield from _of_classes(test, kinds[found.name], left, judged, options)


class _Told(NamedTuple):
    """What gives one class away."""

    first: Distinctive
    further: Distinctive | None
    partly: bool
    less: npt.NDArray[np.float64]
    """``[w]`` how far the share of the rest is above that of the class."""

    @property
    def bins(self) -> npt.NDArray[np.bool_]:
        """``[w]`` the bins of images that show it."""
        return self.first.bins if self.further is None else self.first.bins | self.further.bins


def _told(test: Tested, code: int, options: Options) -> _Told:
    own, others = test.counts[code], test.counts.sum(0) - test.counts[code]
    among = test.out[code] if test.out is not None and test.areas[code] < options.least_auc else None
    told = most_distinctive(test.found, own, others, among)
    limits = {"least_share": options.least_share, "chance": options.false_discoveries}
    further = further_range(test.found, own, others, told, **limits) if told.is_range else None
    return _Told(told, further, among is not None, others / others.sum() - own / own.sum())


def _together(given: _Given, test: Tested, left: npt.NDArray[np.bool_], classes: ClassHalves, options: Options) -> _Given:
    """Return the classes that a property gives away by one value each and those that it does otherwise as one."""
    strength, showing, ranges = given.strength.copy(), given.showing.copy(), dict(given.ranges)
    order = np.argsort(classes.codes, kind="stable")
    starts = np.searchsorted(classes.codes[order], np.arange(len(left) + 1))
    for code in np.flatnonzero(left).tolist():
        told, mine = _told(test, code, options), order[starts[code] : starts[code + 1]]
        strength[code], ranges[code] = max(2 * test.areas[code] - 1, 0), told.first.value
        showing[mine] = told.bins[test.found.bins[mine]]
    return _Given(given.classes | left, strength, showing, ranges)


def _of_dataset(found: Property, kind: str, given: _Given, judged: _Judged, *, restated: bool = False) -> _Found:
    """Return the one finding about a property that tells the label, or most of it: classes that can be told best come first."""
    named, codes = judged.classes.named, judged.classes.codes
    shown = [code for code in np.lexsort((np.arange(len(named)), -given.strength)).tolist() if given.classes[code]][:_EXAMPLES]
    examples = [min(np.flatnonzero(given.showing & (codes == code)).tolist(), key=judged.ids.__getitem__) for code in shown]
    values = [given.ranges.get(code) or found.value_name(place) for code, place in zip(shown, examples, strict=True)]
    evidence = {
        "property": found.name,
        "classes_given_away": int(given.classes.sum()),
        "classes_judged": len(named),
        "images": int(given.showing.sum()),
        "example_classes": [named[code] for code in shown],
        "example_values": values,
        "examples": judged.ids[examples].tolist(),
    }
    places = np.flatnonzero(given.showing) if found.column is None else _NONE
    if restated:
        message = f"The {found.words} restates the label: it was not looked at as a shortcut; keep it out of what a model is given."
    else:
        such = ", ".join(f"{class_name(named[code], judged.words)} by {value}" for code, value in list(zip(shown, values, strict=True))[:3])
        advice = "collect, or write all files alike," if found.column is None else "if it is not the label once more, collect"
        message = (
            f"The {found.words} alone gives away {given.classes.sum():,} of {len(named):,} classes, such as {such}; "
            f"{advice} so that classes share its values."
        )
    score, severity = float(given.classes.mean()), "info" if restated else "warning"
    finding = Finding(kind=kind, score=score, severity=severity, message=message, evidence=evidence)
    return _Found(finding, places, given.strength[codes[places]])


def _of_classes(test: Tested, kind: str, given: npt.NDArray[np.bool_], judged: _Judged, options: Options) -> Iterator[_Found]:
    """Yield a finding for each class that a property gives away."""
    found, named, codes = test.found, judged.classes.named, judged.classes.codes
    ranked = _ranked(found, judged.classes)
    tellings = {code: _told(test, code, options) for code in np.flatnonzero(given).tolist()}
    if len(named) == 2:  # what gives one of two classes away is what the other lacks: the one of which it says more is told
        tellings = dict([min(tellings.items(), key=lambda item: (item[1].first.share_of_rest, item[0]))])
    for code, told in tellings.items():
        first, area, mine = told.first, float(test.areas[code]), np.flatnonzero(codes == code)
        showing = mine[told.bins[found.bins[mine]]]
        evidence = {
            "property": found.name,
            "auc": area,
            "adjusted_p": float(test.certain[code]),
            **_shares(first),
            **({} if told.further is None else {"further_range": _shares(told.further)}),
            **({} if first.together is None else {"likelier_values": dict(zip(_TOGETHER, first.together, strict=True))}),
            **({} if ranked is None else dict(zip(_MEDIANS, medians(ranked[0], np.flatnonzero(ranked[1] == code)), strict=True))),
            "examples": _examples(told, found.bins[showing], judged.ids[showing]),
        }
        message = (
            f"The class {class_name(named[code], judged.words)} is {'partly ' if told.partly else ''}given away by {found.words} alone "
            f"(area under the ROC curve {area:.2f}, 0.5 is chance): {first.share_of_class:.0%} of it but {first.share_of_rest:.0%} of the rest have "
            f"{f'{found.words} ' if first.is_range else ''}{first.value}{_further(told)}; look at the examples: if it is not the object's own, "
            "collect or crop so that classes share it."
        )
        score = max(2 * area - 1, 0)
        yield _Found(Finding(kind=kind, score=score, message=message, label=named[code], evidence=evidence), showing, score)


def _shares(told: Distinctive) -> dict[str, str | float]:
    return {"value": told.value, "share_of_class": told.share_of_class, "share_of_rest": told.share_of_rest}


def _examples(told: _Told, bins: npt.NDArray[np.int64], ids: npt.NDArray[np.object_]) -> list[str]:
    """Return ids of images that show what gives a class away, of the bins that tell most; of two ranges by turns."""
    parts = [told.first.bins] if told.further is None else [told.first.bins, told.further.bins]
    ranked = [[name for _, name in sorted(zip(told.less[bins[part[bins]]], ids[part[bins]], strict=True))[:_EXAMPLES]] for part in parts]
    return [name for turn in zip_longest(*ranked) for name in turn if name is not None][:_EXAMPLES]


def _further(told: _Told) -> str:
    if told.further is not None:
        return f", and {told.further.share_of_class:.0%} but {told.further.share_of_rest:.0%} {told.further.value}"
    if told.first.together is None:
        return ""
    values, own, rest = told.first.together
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

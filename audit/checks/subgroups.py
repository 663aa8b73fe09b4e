"""Subgroups (by metadata, measured property or visual cluster) whose labels or predictions are worse than the rest of their classes.

Why it matters: an average hides them. Photos of one source, dark images, or one type of image inside a class may be labelled carelessly or be hard
for every model, while the overall accuracy looks good.

How it works: subgroups are the bins of every property and metadata column, and clusters of the embeddings. Two rates are compared with those of the
rest of the same classes, so that a subgroup is not blamed for its classes: how often the out-of-sample prediction differs from the label, and how
often the label is probably wrong. The false discovery rate is controlled over all subgroups and both rates. Of subgroups that share most of their bad
images, the worst is reported. That predictions are worse is a note: the group is harder. Copies of an image count once. If the backbone has a text
tower, a cluster is described by the sentences closest to its centre, relative to the centre of all images (Eyuboglu et al.).

Blind spots: subgroups smaller than ``fewest``, or that no column and no cluster describes; a class that is bad throughout (see ``class_overlap`` and
``label_errors``). Predictions come from the same embeddings as the clusters, so a cluster at the border of two classes is worse by nature: a finding
shows that it is worse, not that labels are wrong.

Papers: Chung et al. 2019, "Slice Finder: Automated Data Slicing for Model Validation", ICDE; Eyuboglu et al. 2022, "Domino: Discovering Systematic
Errors with Cross-Modal Embeddings", ICLR; Mantel & Haenszel 1959, "Statistical Aspects of the Analysis of Data from Retrospective Studies of
Disease", JNCI; Benjamini & Hochberg 1995, "Controlling the False Discovery Rate", JRSS B.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_between_0_and_1, skipped_without_classes
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets
from audit.run.identity import identities
from audit.statistics.clusters import clustered, described, typical_rows
from audit.statistics.multiple_testing import adjusted_p
from audit.statistics.one_per_duplicate_set import one_per_duplicate_set
from audit.statistics.properties import distinct_kinds, properties
from audit.statistics.stratified_rates import compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    from audit.backbones import EncodeText
    from audit.statistics.stratified_rates import Comparison

KINDS = ("cluster", "*_*")
FAMILY: Family = "bias"
EVIDENCE = {
    "by": Evidence("Grouped by", "name"),
    "value": Evidence("Value"),
    "images": Evidence("Images"),
    "pictures": Evidence("Distinct images"),
    "rates": Evidence("Rates"),
    "predictions": Evidence("Predictions"),
    "labels": Evidence("Labels"),
    "rate": Evidence("Rate", "share"),
    "expected": Evidence("Expected", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "commonest_classes": Evidence("Most frequent classes"),
    "typical": Evidence("Typical images"),
    "looks_like": Evidence("Looks like"),
    "examples": Evidence("Examples"),
}

_WRONG_FROM = 0.5
_IMAGES_PER_CLUSTER = 100
_MOST_CLUSTERS = 1000
_REPEATED = 0.5
"""Share of a subgroup's bad images that other subgroups have, above which it says nothing new."""
_EXAMPLES = 5
_CLASSES_NAMED = 3
_SCENES = (
    *("taken indoors", "taken outdoors", "taken at night", "taken under water", "taken from above", "taken from afar"),
    *("seen close up", "out of focus"),
    *("of several people", "of a hand", "of a crowd", "of text", "of a screen", "of a toy", "of a statue", "of food on a plate", "in a box"),
    *("in snow", "in grass", "in a forest", "on sand", "in front of the sky", "on a white background", "on a black background", "behind a fence"),
)
"""Descriptions of a cluster besides its class; each follows "a photo"."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions."""

    least_difference: float = 0.1
    """Difference of the rate of wrong labels from that of the rest of its classes from which a subgroup is reported; above 0, below 1."""
    least_harder: float = 0.25
    """The same for predictions, which differ between groups of images by nature; above 0, below 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the reported subgroups; above 0, below 1."""
    fewest: int = 20
    """Distinct images that a subgroup needs; at least 5."""
    clusters: int = 0
    """Number of clusters of the embeddings; 0 = one for every hundred images, up to 1,000."""

    def __post_init__(self) -> None:
        require_between_0_and_1(self, "least_difference", "least_harder", "false_discoveries")
        if self.fewest < 5:
            raise ConfigError("fewest", f"{self.fewest} is too small", "use 5 or more")
        if self.clusters < 0:
            raise ConfigError("clusters", f"{self.clusters} is negative", "use 0 to choose it by the size of the dataset, or a positive number")


class _Grouping(NamedTuple):
    name: str
    words: str
    """Name of the property in messages."""
    codes: npt.NDArray[np.int64]
    value_names: list[str] | None
    """Text of each group's value; None for clusters."""
    middle: range
    """Codes that are not reported."""
    compared: dict[str, Comparison]
    """Rate -> its comparison for every group."""


class _Subgroup(NamedTuple):
    grouping: _Grouping
    code: int
    adjusted: dict[str, float]
    """Rate that is worse -> its adjusted p-value."""

    @property
    def value(self) -> str | None:
        return None if self.grouping.value_names is None else self.grouping.value_names[self.code]

    @property
    def kind(self) -> str:
        """Kind of its finding."""
        values = self.grouping.value_names
        if values is None:
            return "cluster"
        return distinct_kinds(["_".join(re.findall(r"\w+", f"{self.grouping.name} {value}")) for value in values], values)[self.code]

    def above(self, rate: str) -> float:
        compared = self.grouping.compared[rate]
        return float(compared.rate[self.code] - compared.expected[self.code])


def run(
    samples: pd.DataFrame,
    label_quality: pd.DataFrame,
    embeddings: npt.NDArray[np.float16],
    classes: list[str],
    pairs: pd.DataFrame,
    class_words: Mapping[str, str],
    encode_text: EncodeText | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report subgroups that are worse than their classes; their images score the difference, other judged images 0."""
    given, predicted = (label_quality[name].to_numpy(np.int64) for name in ("given", "predicted"))
    rows = np.flatnonzero((given >= 0) & (predicted >= 0) & (samples["outcome"] == "ok").to_numpy(bool))
    table = samples.iloc[rows]
    counted = one_per_duplicate_set(table, duplicate_sets(pairs, len(samples))[rows])
    if counted.sum() < 2 * options.fewest:
        return skipped_without_classes(samples, f"{counted.sum()} distinct images have a label and a prediction; {2 * options.fewest} are needed")
    codes = given[rows]
    bad = {
        "predictions": predicted[rows] != codes,
        "labels": np.nan_to_num(label_quality["probability_wrong"].to_numpy(float)[rows]) >= _WRONG_FROM,
    }
    clusters = options.clusters or min(max(int(counted.sum()) // _IMAGES_PER_CLUSTER, 2), _MOST_CLUSTERS)
    partitions: list[tuple[str, str, npt.NDArray[np.int64], list[str] | None, range]]
    # The middle of a range, such as a brightness of 0.45 to 0.47, is an accident of the bins: only the lowest and the highest values are subgroups.
    partitions = [
        (found.name, found.words, found.bins, found.bin_names, range(1, len(found.ends) if found.column is None else 1))
        for found in properties(table)
        if found.bins.min() < found.bins.max()
    ]
    # Clusters are fitted on images sorted by content, so that renaming files or classes does not change them.
    once = rows[counted]
    images = identities(samples)
    teaching = once[np.argsort(images[once], kind="stable")]
    partitions.append(("cluster", "cluster", clustered(embeddings, rows, teaching, min(clusters, len(once))), None, range(0)))
    groupings = [
        _Grouping(name, called, bins, values, middle, {rate: compare(is_bad[counted], bins[counted], codes[counted]) for rate, is_bad in bad.items()})
        for name, called, bins, values, middle in partitions
    ]
    ids, words = samples["sample_id"].to_numpy(object), np.array([class_name(name, class_words) for name in classes], object)
    scores = np.full(len(samples), np.nan, np.float32)
    scores[rows] = 0
    worse, findings = _once(_worse(groupings, options), bad, counted), []
    sentences = [f"a photo {scene}" for scene in (*_SCENES, *(f"of {class_words.get(name, name).split(',')[0]}" for name in classes))]
    texts = encode_text(sentences) if encode_text is not None and any(subgroup.value is None for subgroup in worse) else None
    for subgroup in worse:
        mine = subgroup.grouping.codes == subgroup.code
        members = rows[mine & counted]
        shown = bad["labels" if "labels" in subgroup.adjusted else "predictions"] & mine & counted
        typical = typical_rows(embeddings, members, images)
        finding = _finding(subgroup, int(mine.sum()), typical, ids, sorted(ids[rows[shown]])[:_EXAMPLES], words[codes[mine & counted]].tolist())
        if texts is not None and subgroup.value is None:
            finding = replace(finding, evidence={**finding.evidence, "looks_like": described(embeddings, (members, once), images, texts, sentences)})
        scores[rows[mine]] = np.maximum(scores[rows[mine]], finding.score)
        findings.append(finding)
    return Result(scores, findings)


def _worse(groupings: list[_Grouping], options: Options) -> list[_Subgroup]:
    """Return the groups with a rate that is significantly worse, by at least the reported difference."""
    judged = [
        (grouping, rate, code)
        for grouping in groupings
        for rate, compared in grouping.compared.items()
        for code in np.flatnonzero(compared.size >= options.fewest).tolist()
        if code not in grouping.middle
    ]
    worse: dict[tuple[str, int], _Subgroup] = {}
    least = {"labels": options.least_difference, "predictions": options.least_harder}
    large = [_Subgroup(grouping, code, {}).above(rate) >= least[rate] for grouping, rate, code in judged]
    adjusted = adjusted_p([grouping.compared[rate].p[code] for grouping, rate, code in judged], large)
    for (grouping, rate, code), q in zip(judged, adjusted.tolist(), strict=True):
        if q <= options.false_discoveries:
            worse.setdefault((grouping.name, code), _Subgroup(grouping, code, {})).adjusted[rate] = q
    return list(worse.values())


def _once(worse: list[_Subgroup], bad: Mapping[str, npt.NDArray[np.bool_]], counted: npt.NDArray[np.bool_]) -> list[_Subgroup]:
    """Return the subgroups without those that repeat others: most of their bad images are in subgroups that differ more, or more certainly."""
    covered = np.zeros(len(counted), bool)
    kept = []
    for subgroup in sorted(worse, key=lambda one: (-max(one.above(rate) for rate in one.adjusted), min(one.adjusted.values()), one.kind, one.code)):
        mine = counted & (subgroup.grouping.codes == subgroup.code) & np.logical_or.reduce([bad[rate] for rate in subgroup.adjusted])
        if covered[mine].mean() <= _REPEATED:
            kept.append(subgroup)
            covered |= mine
    return kept


def _finding(subgroup: _Subgroup, images: int, typical: list[int], ids: npt.NDArray[np.object_], examples: list[str], labels: list[str]) -> Finding:
    compared = {rate: (float(found.rate[subgroup.code]), float(found.expected[subgroup.code])) for rate, found in subgroup.grouping.compared.items()}
    commonest = [name for name, _ in sorted(Counter(labels).items(), key=lambda entry: (-entry[1], entry[0]))[:_CLASSES_NAMED]]
    words = {"predictions": "predicted as another class", "labels": "probably mislabelled"}
    rates = " and ".join(f"{compared[rate][0]:.0%} are {words[rate]} (expected: {compared[rate][1]:.0%})" for rate in subgroup.adjusted)
    name, value = subgroup.grouping.name, subgroup.value
    who = f"{images} images " + (f"that look like {ids[typical[0]]}" if value is None else f"whose {subgroup.grouping.words} is {value}")
    evidence = {
        "by": name,
        "value": value,
        "images": images,
        "pictures": len(labels),
        "rates": {
            rate: {"rate": found, "expected": expected, "adjusted_p": subgroup.adjusted.get(rate)} for rate, (found, expected) in compared.items()
        },
        "commonest_classes": commonest,
        "typical": ids[typical].tolist(),
        "examples": examples,
    }
    return Finding(
        kind=subgroup.kind,
        score=min(max(subgroup.above(rate) for rate in subgroup.adjusted), 1.0),
        severity="warning" if "labels" in subgroup.adjusted else "info",
        message=f"Of {who} (mostly {', '.join(commonest)}), {rates}. Look at the examples, then at how these images were collected and labelled.",
        group=typical[0] if value is None else None,
        evidence=evidence,
    )

"""Images whose label another class fits better, with a verdict, a suggested label and a probability.

Why it matters: a model learns wrong training labels and is scored against wrong test labels. Test sets contain 3.3% on average (Northcutt, Athalye &
Mueller 2021).

How it works: the probability that a label is wrong combines the out-of-sample prediction with the noise of the dataset's labels
(`audit.labels.noise`), and is tested on labels that are changed on purpose (`audit.labels.self_test`). Verified copies with different labels are
additional evidence: not all of them are correct, and each one votes. A report on an unchanged image appears or vanishes only for a clear change of
its probability (`audit.labels.hysteresis`).

Blind spots: errors that a model makes too, because most such images are labelled so; classes that the backbone cannot distinguish; classes of one
image, which no model can predict. With several labels per image, the probabilities were not measured against human judgements.

Papers: Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR; Northcutt, Athalye & Mueller 2021, "Pervasive Label Errors in Test Sets", NeurIPS;
Dawid & Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates", Applied Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, Skipped
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.labels.conflicts import SURE, disagreeing_duplicate_sets
from audit.labels.hysteresis import reported
from audit.labels.review_yield import expected_yield
from audit.labels.sets import corrected, set_codes, sets_of_labels
from audit.labels.statistics import ends_of, taken_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd
    from scipy.sparse import csr_array

    from audit.taxonomy import Taxonomy

KINDS = ("wrong", "unclear", "overlapping_classes", "also_valid")
FAMILY: Family = "labels"
EVIDENCE = {
    "probability_wrong": Evidence("Probability that the label is wrong", "share"),
    "probability_interval": Evidence("Interval of this probability", "share"),
    "probabilities": Evidence("Probabilities", "share", by_name=True),
    "given_probability": Evidence("Probability of the given label", "share"),
    "neighbors": Evidence("Nearest images"),
    "copies": Evidence("Copies with another label"),
    "sample_id": Evidence("Image"),
    "label": Evidence("Label"),
    "conflicting_copies": Evidence("Number of copies with another label"),
    "label_set": Evidence("Labels that may be correct"),
    "list_precision": Evidence("Expected share of wrong labels down to this finding", "share"),
    "taxonomy": Evidence("Taxonomy"),
    "common": Evidence("Common ancestor"),
    "steps": Evidence("Steps"),
    "similarity": Evidence("Similarity"),
    "slip": Evidence("Kind of slip", "name"),
}

SET_MASS, SET_SIZE = 0.8, 5
"""Where no class fits, the likeliest ones are listed until they reach this probability, up to this number."""

CERTAIN = 0.9
"""Probability from which a wrong label is an error instead of a warning. It also is one if a certain copy has another label."""

LIKELY = 0.5
"""A class is suggested from this probability that it is the right one: from there it is more likely right than all others together."""

COPIES_LISTED = 10
"""Copies with another label that are listed, in order of name; an image may have thousands."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds."""

    min_probability: float = 0.5
    """Probability that a reviewer would call the label wrong, from which an image is reported, 0..1. On CIFAR-10N, 76% (aggregated labels) and 90%
    (single labels) of those above 0.5 are wrong."""
    fitting: float = 0.4
    """Probability from which a class fits, 0..1; if none fits, the verdict is unclear."""
    confusable: float = 0.25
    """A class overlaps another if this share of its images is predicted as the other although the label is right, 0..1. Of 55 labels of clothes that
    were judged to be wrong or one of two valid ones, 35 were valid; where the classes overlap, 11 of 13."""

    def __post_init__(self) -> None:
        for name in ("min_probability", "fitting", "confusable"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, f"{getattr(self, name)} is not between 0 and 1", "use a number such as 0.5")


def verdict(own: float, other: float, *, overlap: bool, copy_agrees: bool, options: Options) -> str:
    """Return the kind of a suspicious label's finding.

    Args:
        own: predicted probability of the given label.
        other: that of the best other class.
        overlap: whether the given class overlaps the other in this dataset.
        copy_agrees: whether a copy is labelled with the other class.
        options: thresholds.
    """
    if copy_agrees:
        return "wrong"
    if max(own, other) < options.fitting:
        return "unclear"
    return "overlapping_classes" if overlap else "wrong"


def run(  # noqa: PLR0913, PLR0917  parameters are the tables that the check needs
    samples: pd.DataFrame,
    predictions: npt.NDArray[np.float32],
    label_quality: pd.DataFrame,
    classes: list[str],
    pairs: pd.DataFrame | None = None,
    neighbors: npt.NDArray[np.int32] | None = None,
    class_words: Mapping[str, str] | None = None,
    taxonomy: Taxonomy | None = None,
    reported_before: npt.NDArray[np.int8] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Score every labelled image that has a prediction, and report those whose label is probably wrong."""
    score, probability = (label_quality[name].to_numpy(np.float32) for name in ("score", "probability_wrong"))
    if not np.isfinite(score).any():
        return Skipped("no labelled image has a prediction")
    names = samples["sample_id"].to_numpy(object)
    flagged = np.flatnonzero(reported(probability, options.min_probability, reported_before))
    flagged = np.array(sorted(flagged.tolist(), key=lambda row: (-score[row], names[row])), np.int64)
    low, high = ends_of(label_quality)
    ahead = expected_yield(score[flagged], probability[flagged], ends=(low[flagged], high[flagged]))
    several = bool(samples["labels"].notna().any())
    labels = sets_of_labels(samples)
    copies = _Copies(pairs, labels, names)
    judged = _SetsJudged if several else _LabelsJudged
    judge = judged(predictions, label_quality, classes, labels, class_words or {}, options)
    findings = []
    for rank, row in enumerate(flagged.tolist()):
        near = [] if neighbors is None else [at for at in neighbors[row].tolist() if at >= 0 and labels[at]][:5]
        partners = copies.of(row)
        shown: dict[str, Any] = {
            "probability_wrong": round(float(probability[row]), 4),
            "probability_interval": [round(float(end[row]), 4) for end in (low, high)],
            "list_precision": [round(float(value[rank]), 3) for value in (ahead.precision, ahead.low, ahead.high)],
            "neighbors": [{"sample_id": str(names[at]), "label": _shown(labels[at])} for at in near],
            "copies": [{"sample_id": str(names[at]), "label": _shown(labels[at])} for at in partners[:COPIES_LISTED].tolist()],
            "conflicting_copies": len(partners),
            **_shown_probabilities(predictions[row], float(label_quality["given_probability"].iloc[row]), classes),
        }
        found = judge(row, copies.labels_of(partners))
        if taxonomy and found.suggestion and len(labels[row]) == 1:
            shown |= taxonomy.evidence(labels[row][0], found.suggestion)
        severity = {"wrong": "warning", "unclear": "warning"}.get(found.kind, "info")
        if found.kind == "wrong" and (probability[row] >= CERTAIN or copies.certainty[row] >= SURE):
            severity = "error"
        findings.append(
            Finding(
                kind=found.kind,
                score=float(score[row]),
                message=found.message,
                severity=severity,
                row=row,
                suggested_label=found.suggestion,
                evidence=shown | ({"label_set": found.label_set} if found.label_set else {}),
            )
        )
    return Result(score, findings)


def _shown(labels: tuple[str, ...]) -> str | list[str]:
    return labels[0] if len(labels) == 1 else list(labels)


def _shown_probabilities(prediction: npt.NDArray[np.float32], own: float, classes: list[str]) -> dict[str, Any]:
    if not np.isfinite(prediction[0]):
        return {}
    top = np.argsort(-prediction, kind="stable")[:3].tolist()
    return {"probabilities": {classes[index]: round(float(prediction[index]), 4) for index in top}, "given_probability": round(own, 4)}


class _Copies:
    """Copies of each image that have other labels."""

    def __init__(self, pairs: pd.DataFrame | None, labels: list[tuple[str, ...]], names: npt.NDArray[np.object_]) -> None:
        self._labels, self._codes = labels, set_codes(labels)
        self._copies: dict[int, npt.NDArray[np.int64]] = {}
        self.certainty = np.zeros(len(labels))
        """``[n]`` certainty that an image has any."""
        for parts in disagreeing_duplicate_sets(pairs, self._codes):
            by_name = np.array(sorted(parts[-1].rows.tolist(), key=lambda row: names[row]), np.int64)
            self._copies |= dict.fromkeys(by_name.tolist(), by_name)
            for part in parts:
                self.certainty[part.rows] = np.maximum(self.certainty[part.rows], part.certainty)

    def of(self, row: int) -> npt.NDArray[np.int64]:
        """Return the rows of an image's copies with other labels, ordered by name."""
        copies = self._copies.get(row, np.empty(0, np.int64))
        return np.asarray(copies[self._codes[copies] != self._codes[row]], dtype=np.int64)

    def labels_of(self, copies: npt.NDArray[np.int64]) -> list[tuple[str, ...]]:
        """Return the distinct labels of copies, in their order."""
        _, first = np.unique(self._codes[copies], return_index=True)
        return [self._labels[row] for row in copies[np.sort(first)].tolist()]


class _Verdict(NamedTuple):
    kind: str
    message: str
    suggestion: str | None
    label_set: list[str]


@dataclass
class _Judge:
    predictions: npt.NDArray[np.float32]
    quality: pd.DataFrame
    classes: list[str]
    labels: list[tuple[str, ...]]
    words: Mapping[str, str]
    options: Options

    def __post_init__(self) -> None:
        self.given, self.alternative = (self.quality[name].to_numpy().astype(np.int64) for name in ("given", "alternative"))
        known = "alternative_probability" in self.quality
        self.fits = self.quality["alternative_probability"].to_numpy(np.float32) if known else None


class _LabelsJudged(_Judge):
    """Verdicts where every image has one label."""

    @cached_property
    def overlaps(self) -> csr_array:
        predicted, wrong = (self.quality[name].to_numpy() for name in ("predicted", "probability_wrong"))
        return taken_for(self.given, predicted, wrong, len(self.classes))

    def __call__(self, row: int, of_copies: list[tuple[str, ...]]) -> _Verdict:
        mine, other = int(self.given[row]), int(self.alternative[row])
        label, suggestion = self.classes[mine], self.classes[other]
        own, best = (float(value) for value in np.nan_to_num(self.predictions[row, [mine, other]]))
        kind = verdict(
            own,
            best,
            overlap=float(self.overlaps[mine, other]) >= max(self.options.confusable, 1e-9),
            copy_agrees=(suggestion,) in of_copies,
            options=self.options,
        )
        likely = self.fits is None or not self.fits[row] < LIKELY
        given, fits = class_name(label, self.words), class_name(suggestion, self.words)
        message = {
            "wrong": f"Labelled {given}, but {fits} fits better. {'Correct the label.' if likely else 'Look at the image.'}",
            "overlapping_classes": f"Labelled {given}, but {fits} may fit as well: many images of {given} look like it. Choose one, or allow both.",
            "unclear": f"Labelled {given}, but no class fits well. Look at the image.",
        }[kind]
        if kind == "unclear":
            return _Verdict(kind, message, None, [self.classes[at] for at in likely_set(self.predictions[row])])
        return _Verdict(kind, message, suggestion if likely else None, [] if kind == "wrong" else [label, suggestion])


class _SetsJudged(_Judge):
    """Verdicts where images have several labels."""

    def __call__(self, row: int, of_copies: list[tuple[str, ...]]) -> _Verdict:
        mine = self.labels[row]
        given = np.isin(self.classes, mine)
        prediction = np.asarray(self.predictions[row])
        if not np.isfinite(prediction).all():
            message = f"Labelled {self._listed(mine)}, but a copy is labelled {self._listed(of_copies[0])}. Decide which is correct."
            return _Verdict("unclear", message, None, sorted({*mine, *of_copies[0]}))
        kind, fitting, missing = corrected(prediction, given, self.options.min_probability)
        found = [self.classes[at] for at in fitting]
        extra = [name for name in mine if name not in found]
        lacking = self._listed([self.classes[at] for at in missing])
        if kind == "unclear":
            message = f"Labelled {self._listed(mine)}, but none of these fits well. Look at the image."
        elif kind == "also_valid":
            message = (
                f"Labelled {self._listed(mine)}, but {lacking} fits as well. Add it." if len(missing) else self._doubted(mine, self.alternative[row])
            )
        elif len(missing):
            message = f"Labelled {self._listed(mine)}, but {self._listed(extra)} does not fit and {lacking} does. Correct the labels."
        else:
            message = f"Labelled {self._listed(mine)}, but {self._listed(extra)} does not fit. Remove it."
        return _Verdict(kind, message, self.classes[missing[0]] if len(missing) else None, found)

    def _listed(self, names: Sequence[str]) -> str:
        return " and ".join(class_name(name, self.words) for name in names)

    def _doubted(self, mine: tuple[str, ...], doubtful: int) -> str:
        return f"Labelled {self._listed(mine)}, but a copy disagrees about {class_name(self.classes[doubtful], self.words)}. Compare the two."


def likely_set(prediction: npt.NDArray[np.float32]) -> list[int]:
    """Return the likeliest classes up to a total probability of `SET_MASS`, at most `SET_SIZE`; none without a prediction.

    >>> likely_set(np.array([0.3, 0.1, 0.55, 0.05]))
    [2, 0]
    """
    if not np.isfinite(prediction[0]):
        return []
    order = np.argsort(-prediction, kind="stable")[:SET_SIZE]
    reached = int(np.searchsorted(np.cumsum(prediction[order]), SET_MASS)) + 1
    return [int(at) for at in order[:reached]]

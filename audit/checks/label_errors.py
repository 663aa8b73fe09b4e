"""Images whose label another class fits better, each with a verdict, a suggestion and how sure it is.

Why it matters: a wrong training label is learned, a wrong test label is scored, and test sets have them too (3.3% on average in the paper below).

A label's probability of being wrong combines the out-of-sample prediction with how labels go wrong in this dataset (`audit.label_noise`). A verified
copy that carries another label is evidence on its own: at least one of the two is wrong.

Blind spots: errors that a model makes as well, because most images of the kind are labelled so; classes that the backbone cannot see apart; a class
of one image, which no model can know; images with several labels are not judged.

Papers: Northcutt, Jiang & Chuang 2021, "Confident Learning", JAIR; Northcutt, Athalye & Mueller 2021, "Pervasive Label Errors in Test Sets", NeurIPS;
Dawid & Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates", Applied Statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Finding, Result, Skipped
from audit.class_statistics import confusion_matrix, overlapping
from audit.errors import ConfigError
from audit.label_noise import expected_yield
from audit.label_quality import disagreeing_copies

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

CERTAIN = 0.9
"""A wrong label is an error rather than a warning from this probability, or where a copy says so."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the check."""

    min_probability: float = 0.5
    """Report an image from this probability that a reviewer would call its label wrong, 0..1. On CIFAR-10N 76% (aggregated labels) and 90% (single
    labels) of those above 0.5 are wrong."""
    valid_ratio: float = 0.5
    """The given label is also valid where its own probability is at least this share of the best other class's, 0..1."""
    fitting: float = 0.4
    """A class fits from this probability; where none reaches it, the verdict is unclear, 0..1."""
    confusable: float = 0.25
    """Two classes overlap where, both ways, this share of the one's images is predicted as the other, 0..1."""

    def __post_init__(self) -> None:
        for name in ("min_probability", "valid_ratio", "fitting", "confusable"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, f"{getattr(self, name)} is not between 0 and 1", "use a number such as 0.5")


def verdict(own: float, other: float, *, overlap: bool, copy_agrees: bool, options: Options) -> str:
    """Say what kind of error a suspicious label is.

    Args:
        own: predicted probability of the given label.
        other: that of the best other class.
        overlap: whether the two classes overlap in this dataset.
        copy_agrees: whether a copy carries the other class as its label.
        options: thresholds.
    """
    if copy_agrees:
        return "wrong"
    if max(own, other) < options.fitting:
        return "unclear"
    if overlap:
        return "overlapping_classes"
    return "also_valid" if own >= options.valid_ratio * other else "wrong"


def run(
    samples: pd.DataFrame,
    predictions: npt.NDArray[np.float32],
    label_quality: pd.DataFrame,
    classes: list[str],
    pairs: pd.DataFrame | None = None,
    neighbors: npt.NDArray[np.int32] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Score every labelled image that has a prediction, and report those whose label is probably wrong."""
    if len(classes) < 2:
        return Skipped("fewer than two classes")
    given, alternative = (label_quality[name].to_numpy().astype(np.int64) for name in ("given", "alternative"))
    score, probability = (label_quality[name].to_numpy(np.float32) for name in ("score", "probability_wrong"))
    if not np.isfinite(score).any():
        return Skipped("no labelled image has a prediction")
    copies = disagreeing_copies(pairs, given)
    names = samples["sample_id"].to_numpy(object)
    flagged = np.flatnonzero(probability >= options.min_probability)
    flagged = np.array(sorted(flagged.tolist(), key=lambda row: (-score[row], names[row])), np.int64)
    ahead = expected_yield(score[flagged], probability[flagged])
    overlaps = overlapping(confusion_matrix(given, label_quality["predicted"].to_numpy(), len(classes)), options.confusable)
    findings = []
    for place, row in enumerate(flagged.tolist()):
        mine, other = int(given[row]), int(alternative[row])
        partners = sorted(copies.get(row, {}), key=lambda at: names[at])
        near = [] if neighbors is None else [at for at in neighbors[row].tolist() if at >= 0 and given[at] >= 0][:5]
        shown: dict[str, Any] = {
            "probability_wrong": round(float(probability[row]), 4),
            "list_precision": [round(float(value[place]), 3) for value in (ahead.precision, ahead.low, ahead.high)],
            "neighbors": [{"sample_id": str(names[at]), "label": classes[given[at]]} for at in near],
            "copies": [{"sample_id": str(names[at]), "label": classes[given[at]]} for at in partners],
        }
        copy_agrees = any(given[at] == other for at in partners)
        own, best = (float(value) for value in np.nan_to_num(predictions[row, [mine, other]]))
        kind = verdict(own, best, overlap=bool(overlaps[mine, other]), copy_agrees=copy_agrees, options=options)
        shown |= _shown_probabilities(predictions[row], mine, classes)
        findings.append(_finding(row, float(score[row]), kind, (classes[mine], classes[other]), shown))
    return Result(score, findings)


def _shown_probabilities(prediction: npt.NDArray[np.float32], given: int, classes: list[str]) -> dict[str, Any]:
    if not np.isfinite(prediction[0]):
        return {}
    top = np.argsort(-prediction, kind="stable")[:3].tolist()
    return {
        "probabilities": {classes[index]: round(float(prediction[index]), 4) for index in top},
        "given_probability": round(float(prediction[given]), 4),
    }


def _finding(row: int, score: float, kind: str, labels: tuple[str, str], shown: dict[str, Any]) -> Finding:
    label, suggestion = labels
    message = {
        "wrong": f"Labelled {label!r}, but {suggestion!r} fits better; correct the label.",
        "also_valid": f"Labelled {label!r}, but {suggestion!r} fits as well; decide, or allow both.",
        "overlapping_classes": f"Labelled {label!r}, but could be {suggestion!r}: the classes are mistaken for each other; compare definitions.",
        "unclear": f"Labelled {label!r}, and no class fits well; look at the image.",
    }[kind]
    severity = {"wrong": "warning", "unclear": "warning"}.get(kind, "info")
    if kind == "wrong" and (shown["copies"] or shown["probability_wrong"] >= CERTAIN):
        severity = "error"
    evidence = shown | ({"label_set": [label, suggestion]} if kind == "also_valid" else {})
    return Finding(
        kind=kind,
        score=score,
        message=message,
        severity=severity,
        row=row,
        suggested_label=None if kind == "unclear" else suggestion,
        evidence=evidence,
    )

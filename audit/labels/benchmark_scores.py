"""Accuracy of models on a benchmark with its labels as they are, with corrected labels, and without leaked images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.labels.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

Z = 1.96


@dataclass(frozen=True, slots=True)
class Corrections:
    """Classes that count as right for each image of the corrected benchmark."""

    right: npt.NDArray[np.int64]
    """``[m, 2]`` class codes that count as right, -1 = none; the second is another valid label."""
    kept: npt.NDArray[np.bool_]
    """``[m]``; False where no class fits or a reviewer dropped the image: excluded from the corrected benchmark."""
    reviewed: int
    """Number of images that reviewers relabelled or dropped."""
    suggested: int
    """Number of images changed as suggested, without review."""


def corrections(given: npt.NDArray[np.integer], findings: pd.DataFrame, decided: pd.DataFrame, classes: Sequence[str]) -> Corrections:
    """Correct labels as reviewers decided, and as the label check suggests for findings without a decision.

    Args:
        given: ``[m]`` class codes, -1 = unlabelled.
        findings: findings of ``label_errors``, columns ``row`` (0 to m - 1), ``kind`` and ``suggested_label``. ``wrong`` replaces the label by the
            suggestion; with ``also_valid`` and ``overlapping_classes`` both count as right; ``unclear`` excludes the image.
        decided: decisions as `audit.review.consensus.consensus` returns them, columns ``row``, ``action`` and ``label``: ``relabel``, ``drop``, or
            ``keep`` and disputes, which leave the label unchanged.
        classes: names of the codes; an image relabelled to any other name is excluded.
    """
    place = {name: at for at, name in enumerate(classes)}
    right = np.column_stack([given, np.full(len(given), -1)]).astype(np.int64)
    kept = np.ones(len(given), bool)
    reviewed_rows = set(decided["row"].astype(int))
    suggested = 0
    for row, kind, suggestion in zip(findings["row"].astype(int), findings["kind"], findings["suggested_label"], strict=True):
        if row in reviewed_rows:
            continue
        suggested += 1
        if kind == "unclear":
            kept[row] = False
        else:
            right[row, 0 if kind == "wrong" else 1] = place.get(suggestion, -1)
    reviewed = 0
    for row, action, label in zip(decided["row"].astype(int), decided["action"], decided["label"], strict=True):
        reviewed += action in ("relabel", "drop")
        if action == "relabel":
            right[row, 0] = place.get(label, -1)
        elif action == "drop":
            kept[row] = False
    return Corrections(right, kept & (right >= 0).any(1), int(reviewed), suggested)


def scores(
    predicted: Mapping[str, npt.NDArray[np.integer]], given: npt.NDArray[np.integer], corrected: Corrections, leaked: npt.NDArray[np.bool_] | None
) -> pd.DataFrame:
    """Score every model on every variant of a benchmark, all models on the same images.

    Args:
        predicted: model -> ``[m]`` class codes; an image that any model does not predict (-1) is excluded for all.
        given: ``[m]`` class codes of the given labels; -1 = unlabelled, excluded from variants with the given labels.
        corrected: what counts as right in variants with corrected labels.
        leaked: ``[m]`` images with a copy in another split; None if unknown.

    Returns:
        One row per model and variant: ``model, variant, images, right, accuracy, low, high``; the interval is Wilson's (95%).
    """
    rows = []
    for variant, (kept, right) in _variants(predicted, given, corrected, leaked).items():
        for model, hits in _hits(predicted, kept, right).items():
            low, high = (float(end[0]) for end in wilson(np.array([float(hits.sum())]), np.array([float(len(hits))])))
            accuracy = float(hits.mean()) if len(hits) else np.nan
            rows.append([model, variant, len(hits), int(hits.sum()), accuracy, low, high])
    return pd.DataFrame(rows, columns=["model", "variant", "images", "right", "accuracy", "low", "high"])


def ranking_changes(
    predicted: Mapping[str, npt.NDArray[np.integer]], given: npt.NDArray[np.integer], corrected: Corrections, leaked: npt.NDArray[np.bool_] | None
) -> list[dict[str, Any]]:
    """Return the pairs of models whose order is reversed in another variant; arguments as for `scores`.

    Returns:
        Each with ``variant``, ``ahead`` and ``behind`` (models, in the order of that variant), ``before`` and ``after`` (accuracy of ``ahead``
        minus that of ``behind``, with the given labels and in the variant) and ``after_interval`` (95%, of paired differences). An interval that
        contains 0 may be chance.
    """
    variants = _variants(predicted, given, corrected, leaked)
    hits = {variant: _hits(predicted, kept, right) for variant, (kept, right) in variants.items()}
    found = []
    for first, second in itertools.permutations(predicted, 2):
        before = _difference(hits["as_is"][first], hits["as_is"][second])[0]
        for variant in list(hits)[1:]:
            after, half = _difference(hits[variant][first], hits[variant][second])
            if after > 0 >= before and (before < 0 or after - half > 0):
                interval = [after - half, after + half]
                found.append({"variant": variant, "ahead": first, "behind": second, "before": before, "after": after, "after_interval": interval})
    return found


def _variants(
    predicted: Mapping[str, npt.NDArray[np.integer]], given: npt.NDArray[np.integer], corrected: Corrections, leaked: npt.NDArray[np.bool_] | None
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]:
    """Return, per variant, which images are scored, and the right classes of each."""
    predicted_by_all = np.logical_and.reduce([codes >= 0 for codes in predicted.values()])
    as_is = np.column_stack([given, np.full(len(given), -1)]).astype(np.int64)
    found = {"as_is": (predicted_by_all & (given >= 0), as_is), "corrected": (predicted_by_all & corrected.kept, corrected.right)}
    if leaked is not None:
        found |= {"without_leaks": (found["as_is"][0] & ~leaked, as_is)}
        found |= {"corrected_without_leaks": (found["corrected"][0] & ~leaked, corrected.right)}
    return found


def _hits(
    predicted: Mapping[str, npt.NDArray[np.integer]], kept: npt.NDArray[np.bool_], right: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.bool_]]:
    return {model: (codes[kept, None] == right[kept]).any(1) for model, codes in predicted.items()}


def _difference(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean paired difference and half the width of its 95% interval (normal approximation)."""
    if not len(first):
        return 0.0, 0.0
    differ = first.astype(np.float64) - second
    return float(differ.mean()), float(Z * differ.std() / np.sqrt(len(differ)))

"""The same picture under different labels: at least one of them is wrong or incomplete.

No model is asked, so this is the most certain evidence of label errors there is. Where most copies, or most of the nearest images, agree on a label,
it is suggested.

Blind spots: copies that agree on a wrong label; pictures that truly show two classes (then both labels are right, and the dataset wants several
labels per image).

Paper: Northcutt, Athalye & Mueller 2021, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Finding, Result, Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

_SCENE_WEIGHT = 0.3
"""Two shots of a scene may rightly differ in label; they rank below every copy."""

SURE = 0.9
"""Certainty of a pair from which a conflict is an error: every judged CIFAR-10 pair above it was a duplicate (docs/pairs.md)."""


def majority(votes: Sequence[str | None]) -> str | None:
    """Return the label that more than half of the votes name, or None.

    >>> majority(["cat", "cat", "dog"]), majority(["cat", "dog"])
    ('cat', None)
    """
    named = Counter(vote for vote in votes if vote is not None)
    if not named:
        return None
    label, count = min(named.items(), key=lambda item: (-item[1], item[0]))
    return label if 2 * count > named.total() else None


def run(samples: pd.DataFrame, pairs: pd.DataFrame, neighbors: npt.NDArray[np.int32] | None = None) -> Result | Skipped:
    """Report every image that has a verified copy with another label; failed and unlabelled images have no score."""
    labels = [_labels(one, several) for one, several in zip(samples["label"], samples["labels"], strict=True)]
    if not any(labels):
        return Skipped("no labels in this dataset")
    names = samples["sample_id"].to_numpy(object)
    labelled = np.array([bool(label) for label in labels], bool)
    scores = np.where((samples["outcome"] == "ok").to_numpy(bool) & labelled, 0.0, np.nan).astype(np.float32)
    conflicts: dict[int, list[tuple[float, int, str, int]]] = defaultdict(list)
    copies: dict[int, set[int]] = defaultdict(set)
    for i, j, relation, certainty, group in zip(pairs["i"], pairs["j"], pairs["relation"], pairs["score"], pairs["group"], strict=True):
        copies[i].add(j)
        copies[j].add(i)
        if labels[i] and labels[j] and labels[i] != labels[j]:
            score = min(max(float(certainty), 0.0), 1.0) * (_SCENE_WEIGHT if relation == "same_scene" else 1.0)
            conflicts[i].append((score, j, relation, group))
            conflicts[j].append((score, i, relation, group))
    findings = []
    for row, found in sorted(conflicts.items()):
        score, partner, relation, group = max(found, key=lambda one: (one[0], names[one[1]]))
        votes = [labels[other] for other in sorted(copies[row])]
        near = [] if neighbors is None else [labels[other] for other in neighbors[row] if other >= 0 and other not in copies[row]]
        suggestion = majority([_single(vote) for vote in [labels[row], *votes]]) or majority([_single(vote) for vote in near])
        scores[row] = np.fmax(scores[row], score)
        sure = relation != "same_scene" and score >= SURE
        what = "the same scene as" if relation == "same_scene" else "the same picture as" if sure else "probably the same picture as"
        mine, other = _say(labels[row]), _say(labels[partner])
        findings.append(
            Finding(
                kind="same_scene" if relation == "same_scene" else "same_picture",
                score=score,
                severity="error" if sure else "warning",
                message=f"Labelled {mine}, but is {what} {names[partner]!r}, labelled {other}; decide which is right.",
                row=row,
                partner=partner,
                group=group if group >= 0 else None,
                suggested_label=suggestion if suggestion and (suggestion,) != labels[row] else None,
                evidence={
                    "relation": relation,
                    "label": list(labels[row]),
                    "partner_label": list(labels[partner]),
                    "conflicting_copies": len(found),
                    "votes_of_neighbors": dict(Counter(label for vote in near for label in vote)),
                },
            )
        )
    return Result(scores, findings)


def _labels(one: object, several: object) -> tuple[str, ...]:
    """Return a sample's labels, sorted; empty where it has none."""
    if isinstance(one, str):
        return (one,)
    return tuple(sorted(set(several))) if isinstance(several, list | tuple | np.ndarray) else ()


def _single(labels: tuple[str, ...]) -> str | None:
    return labels[0] if len(labels) == 1 else None


def _say(labels: tuple[str, ...]) -> str:
    return " and ".join(repr(label) for label in labels)

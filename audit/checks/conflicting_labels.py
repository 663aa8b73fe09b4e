"""The same image under different labels: the most certain evidence of label errors.

How it works: no model is involved. If most copies, or else most of the nearest images, agree on a label, it is suggested. A copy labelled like most
copies is reported too, but scores less, since the others are probably wrong.

Blind spots: copies that agree on a wrong label; images that truly show two classes (then both labels are right, and the dataset needs several labels
per image); placeholder images such as "image not available", whose copies have many labels, all of them wrong.

Paper: Northcutt, Athalye & Mueller 2021, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result, Skipped
from audit.labels.conflicts import SURE, disagreeing_duplicate_sets
from audit.labels.sets import set_codes, sets_of_labels
from audit.pairs.duplicate_sets import duplicate_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

    from audit.labels.conflicts import Part

KINDS = ("same_picture", "same_scene")
FAMILY: Family = "labels"
EVIDENCE = {
    "partner": Evidence("Compared with"),
    "relation": Evidence("Relation", "name"),
    "label": Evidence("Given label"),
    "partner_label": Evidence("Label of the other image"),
    "conflicting_copies": Evidence("Copies with another label"),
    "votes_of_neighbors": Evidence("Labels of the nearest images", by_name=True),
}

_SCENE_WEIGHT = 0.3
"""Two shots of a scene may rightly have different labels, so they rank below every copy."""


def majority(votes: Sequence[str | None]) -> str | None:
    """Return the label of more than half of the votes, or None.

    >>> majority(["cat", "cat", "dog"]), majority(["cat", "dog"])
    ('cat', None)
    """
    named = Counter(vote for vote in votes if vote is not None)
    if not named:
        return None
    label, count = min(named.items(), key=lambda item: (-item[1], item[0]))
    return label if 2 * count > named.total() else None


class _Conflict(NamedTuple):
    """An image whose label conflicts with that of a copy or of another shot of its scene."""

    row: int
    partner: int
    relation: str
    certainty: float
    others: int
    """Copies, or images of the scene, with another label."""
    copies: int
    """All labelled copies, including the row; 0 for a conflict with another shot of the scene."""
    favored: str | None
    """The label of most copies."""


def run(samples: pd.DataFrame, pairs: pd.DataFrame, neighbors: npt.NDArray[np.int32] | None = None) -> Result | Skipped:
    """Report every image that has a verified copy with another label; failed and unlabelled images have no score."""
    labels = sets_of_labels(samples)
    codes = set_codes(labels)
    if not (codes >= 0).any():
        return Skipped("no labels in this dataset")
    names, content = (samples[column].to_numpy(object) for column in ("sample_id", "content_id"))
    sets, group = duplicate_sets(pairs, len(samples)), _groups(pairs, len(samples))
    scores = np.where((samples["outcome"] == "ok").to_numpy(bool) & (codes >= 0), 0.0, np.nan).astype(np.float32)
    conflicts = [conflict for parts in disagreeing_duplicate_sets(pairs, codes) for conflict in _of_set(parts, labels, codes, names, content)]
    conflicts += _of_scenes(pairs, sets, codes, names, {conflict.row for conflict in conflicts})
    findings = []
    for found in sorted(conflicts, key=lambda conflict: conflict.row):
        row, partner, scene = found.row, found.partner, found.relation == "same_scene"
        near = [] if neighbors is None else [labels[other] for other in neighbors[row] if other >= 0 and sets[other] != sets[row]]
        suggestion = found.favored or majority([_single(label) for label in near])
        agreed = 2 * found.others < found.copies
        # A label that at least half of the copies contradict has full weight.
        weight = _SCENE_WEIGHT if scene else min(1.0, 2 * found.others / found.copies)
        score = found.certainty * weight
        scores[row] = np.fmax(scores[row], score)
        sure = not scene and found.certainty >= SURE
        what = "another shot of" if scene else "a copy of" if sure else "probably a copy of"
        mine = _listed(labels[row]) + (f" like {found.copies - found.others} of {found.copies} copies" if agreed else "")
        findings.append(
            Finding(
                kind="same_scene" if scene else "same_picture",
                score=score,
                severity="info" if agreed else "error" if sure else "warning",
                message=f"Labelled {mine}, but is {what} {names[partner]}, labelled {_listed(labels[partner])}. Decide which label is correct.",
                row=row,
                partner=partner,
                group=int(group[row]) if group[row] == group[partner] >= 0 else None,
                suggested_label=suggestion if suggestion and (suggestion,) != labels[row] else None,
                evidence={
                    "relation": found.relation,
                    "label": list(labels[row]),
                    "partner_label": list(labels[partner]),
                    "conflicting_copies": found.others,
                    "votes_of_neighbors": dict(Counter(label for vote in near for label in vote)),
                },
            )
        )
    return Result(scores, findings)


def _of_set(
    parts: list[Part], labels: list[tuple[str, ...]], codes: npt.NDArray[np.int64], names: npt.NDArray[np.object_], content: npt.NDArray[np.object_]
) -> Iterator[_Conflict]:
    """Yield the conflict of every labelled copy with the most certain copy that has another label; of several, with the last by name."""
    copies = parts[-1].rows.tolist()
    votes, favored = Counter(codes[copies].tolist()), majority([_single(labels[row]) for row in copies])
    reported: set[int] = set()
    for part in parts:
        by_name = sorted(part.rows.tolist(), key=lambda row: names[row], reverse=True)
        last = by_name[0]
        other = next(row for row in by_name if codes[row] != codes[last])
        for row in by_name:
            if row not in reported:
                reported.add(row)
                partner = last if codes[row] != codes[last] else other
                same_bytes = part.relation == "identical_pixels" and content[row] == content[partner]
                relation = "identical_bytes" if same_bytes else part.relation
                yield _Conflict(row, partner, relation, part.certainty, len(copies) - votes[int(codes[row])], len(copies), favored)


def _of_scenes(
    pairs: pd.DataFrame, sets: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], names: npt.NDArray[np.object_], reported: set[int]
) -> Iterator[_Conflict]:
    """Yield the conflict of every other image with the most certain shot of its scene that has another label; copies of a shot count once."""
    scenes = pairs[pairs["relation"] == "same_scene"]
    shots: dict[int, dict[int, float]] = defaultdict(dict)
    for i, j, certainty in zip(sets[scenes["i"]].tolist(), sets[scenes["j"]].tolist(), scenes["score"].clip(0, 1).tolist(), strict=True):
        if i != j:
            shots[i][j] = shots[j][i] = max(certainty, shots[i].get(j, 0.0))
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero((codes >= 0) & np.isin(sets, list(shots))).tolist():
        members[int(sets[row])].append(row)
    for shot, near in shots.items():
        mine = [row for row in members[shot] if row not in reported]
        others = [(near[other], names[row], row) for other in near for row in members[other] if mine and codes[row] != codes[mine[0]]]
        if others:
            certainty, _, partner = max(others)
            yield from (_Conflict(row, partner, "same_scene", certainty, len(others), 0, None) for row in mine)


def _groups(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]`` the representative of each row's group; -1 for none."""
    found = np.full(n, -1, np.int64)
    grouped = pairs[pairs["group"] >= 0]
    for side in ("i", "j"):
        found[grouped[side].to_numpy()] = grouped["group"]
    return found


def _single(labels: tuple[str, ...]) -> str | None:
    return labels[0] if len(labels) == 1 else None


def _listed(labels: tuple[str, ...]) -> str:
    return " and ".join(repr(label) for label in labels)

"""Find duplicate sets whose copies have different labels, with the certainty that they are copies.

Exact copies are paired only with the first of their kind, and near copies only if the search proposed the pair. The closure of all pairs is used, so
the order of rows does not matter. A chain of copies is as certain as its weakest link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.pairs.duplicate_sets import COPIES, duplicate_sets
from audit.tables import RELATIONS

if TYPE_CHECKING:
    import pandas as pd


SURE = 0.9
"""Certainty from which different labels on copies are an error: every judged CIFAR-10 pair above it was a duplicate (docs/pairs.md)."""


@dataclass(slots=True)
class Part:
    """Copies with different labels that are joined by links of at least this certainty."""

    rows: npt.NDArray[np.int64]
    """``[k]`` the labelled copies, ascending."""
    certainty: float
    """Certainty of the weakest link that joins them, 0..1."""
    relation: str
    """Relation of that link, one of ``RELATIONS``; ``identical_pixels`` also stands for identical bytes."""
    weight: float
    """Certainty of this part minus that of the next larger part that contains it, 0..1. The weights of all parts that contain a row add up to the
    certainty that a copy has another label."""


def disagreeing_duplicate_sets(pairs: pd.DataFrame | None, codes: npt.NDArray[np.integer]) -> Iterator[list[Part]]:
    """Yield every duplicate set whose copies have different labels, as its parts: each before the parts that contain it, the whole set last.

    Args:
        pairs: columns of ``audit.tables.PAIRS``.
        codes: int ``[n]`` code of each label, or set of labels; -1 = none. An unlabelled copy joins others but has no vote.
    """
    if pairs is None or not len(pairs):
        return
    sets = duplicate_sets(pairs, len(codes))
    links = pairs[pairs["relation"].isin(COPIES).to_numpy() & _disagrees(sets, codes)[sets[pairs["i"].to_numpy()]]]
    first, second = links["i"].to_numpy(np.int64), links["j"].to_numpy(np.int64)
    # Rounded to a hundredth, so that a large set has few parts; rounded down, with a margin for the float32 value of 0.9.
    certainty = np.floor(links["score"].to_numpy(np.float64).clip(0, 1) * 100 + 0.01) / 100
    relation = links["relation"].map({name: max(at, _IDENTICAL) for at, name in enumerate(RELATIONS)}).to_numpy(np.int64)
    columns = (sets[first], certainty, relation, first, second)
    order = np.lexsort((relation, -certainty, sets[first]))
    for _, of_set in groupby(zip(*(column[order].tolist() for column in columns), strict=True), key=lambda link: link[0]):
        yield _parts([link[1:] for link in of_set], codes)


_IDENTICAL = RELATIONS.index("identical_pixels")


def _disagrees(sets: npt.NDArray[np.int64], codes: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return, per duplicate set, whether its labelled copies have more than one label."""
    found = np.zeros(int(sets.max(initial=-1)) + 1, bool)
    labelled = np.flatnonzero(codes >= 0)
    if len(labelled):
        labelled = labelled[np.argsort(sets[labelled], kind="stable")]
        numbers, starts = np.unique(sets[labelled], return_index=True)
        found[numbers] = np.minimum.reduceat(codes[labelled], starts) != np.maximum.reduceat(codes[labelled], starts)
    return found


def _parts(links: list[tuple[float, int, int, int]], codes: npt.NDArray[np.integer]) -> list[Part]:
    """Join the rows of one duplicate set by its links, the most certain first (Kruskal 1956).

    Args:
        links: certainty, index of the relation in ``RELATIONS``, and two rows; in the order in which they join.
        codes: as for `disagreeing_duplicate_sets`.
    """
    leader = {row: row for link in links for row in link[2:]}
    members = {row: [row] if codes[row] >= 0 else [] for row in leader}
    labels = {row: {int(codes[row])} - {-1} for row in leader}
    largest: dict[int, list[Part]] = {row: [] for row in leader}

    def leader_of(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    found: list[Part] = []
    for (certainty, relation), alike in groupby(links, key=lambda link: link[:2]):
        grown = set()
        for *_, one, other in alike:
            small, large = sorted((leader_of(one), leader_of(other)), key=lambda row: len(members[row]))
            if small != large:
                leader[small] = large
                members[large] += members.pop(small)
                labels[large] |= labels.pop(small)
                largest[large] += largest.pop(small)
                grown.add(large)
        for row in sorted({leader_of(row) for row in grown}):
            if len(labels[row]) > 1:
                for part in largest[row]:
                    part.weight = part.certainty - certainty
                largest[row] = [Part(np.array(sorted(members[row]), np.int64), certainty, RELATIONS[relation], certainty)]
                found += largest[row]
    return found

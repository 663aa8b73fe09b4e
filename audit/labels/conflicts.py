"""Pictures whose copies carry different labels: which copies those are, and how certainly they are one picture.

Exact copies are paired with the first of their kind only, and near ones where the search brought the pair up. So it is the closure that counts: which
row comes first decides nothing. A chain of copies is as certain as its weakest link.
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
"""Certainty from which copies with different labels are an error: every judged CIFAR-10 pair above it was a duplicate (docs/pairs.md)."""


@dataclass(slots=True)
class Part:
    """Copies of one picture that carry different labels, as far as links of this certainty join them."""

    rows: npt.NDArray[np.int64]
    """``[k]`` the labelled ones, ascending."""
    certainty: float
    """Of the weakest of the links that join them, 0..1."""
    relation: str
    """Of that link, one of ``RELATIONS``; ``identical_pixels`` stands for identical bytes as well."""
    weight: float
    """By how much more certainly they are one picture than the larger part that holds them is, 0..1. Over all parts that hold a row the weights add
    up to how certain it is that a copy carries another label."""


def disagreeing_duplicate_sets(pairs: pd.DataFrame | None, codes: npt.NDArray[np.integer]) -> Iterator[list[Part]]:
    """Yield every picture whose copies carry different labels: its parts, each before those that hold it, so that the whole picture is the last.

    Args:
        pairs: columns of ``audit.tables.PAIRS``.
        codes: int ``[n]`` a number for each label, or set of labels; -1 = none. An unlabelled copy joins others and says nothing.
    """
    if pairs is None or not len(pairs):
        return
    picture = duplicate_sets(pairs, len(codes))
    links = pairs[pairs["relation"].isin(COPIES).to_numpy() & _disagrees(picture, codes)[picture[pairs["i"].to_numpy()]]]
    first, second = links["i"].to_numpy(np.int64), links["j"].to_numpy(np.int64)
    # Told apart to a hundredth, so that a picture of many copies has few parts; rounded down, with room for what float32 takes off 0.9.
    certainty = np.floor(links["score"].to_numpy(np.float64).clip(0, 1) * 100 + 0.01) / 100
    relation = links["relation"].map({name: max(at, _IDENTICAL) for at, name in enumerate(RELATIONS)}).to_numpy(np.int64)
    columns = (picture[first], certainty, relation, first, second)
    order = np.lexsort((relation, -certainty, picture[first]))
    for _, of_picture in groupby(zip(*(column[order].tolist() for column in columns), strict=True), key=lambda link: link[0]):
        yield _parts([link[1:] for link in of_picture], codes)


_IDENTICAL = RELATIONS.index("identical_pixels")


def _disagrees(picture: npt.NDArray[np.int64], codes: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return, per picture, whether its labelled copies carry more than one label."""
    found = np.zeros(int(picture.max(initial=-1)) + 1, bool)
    labelled = np.flatnonzero(codes >= 0)
    if len(labelled):
        labelled = labelled[np.argsort(picture[labelled], kind="stable")]
        numbers, starts = np.unique(picture[labelled], return_index=True)
        found[numbers] = np.minimum.reduceat(codes[labelled], starts) != np.maximum.reduceat(codes[labelled], starts)
    return found


def _parts(links: list[tuple[float, int, int, int]], codes: npt.NDArray[np.integer]) -> list[Part]:
    """Join the rows of one picture by its links, the most certain first (Kruskal 1956).

    Args:
        links: certainty, place of the relation in ``RELATIONS``, and two rows; in the order in which they join.
        codes: as of `disagreeing_pictures`.
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

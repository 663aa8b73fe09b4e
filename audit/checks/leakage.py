"""The same picture in two splits: what was trained on is evaluated on.

A test image whose copy is in train measures memory, not ability. Each finding proposes the image to drop: by default from train, so that published
test numbers stay comparable.

Blind spots: those of the verified pairs it reads; pictures of the same object or patient that differ in their pixels need a group column to be seen.

Paper: Barz & Denzler 2020, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 6(6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped
from audit.pairs.duplicate_sets import implied_by_identical_copies
from audit.tables import RELATIONS

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS = ("identical_bytes", "identical_pixels", "re_encoded", "edited_copy", "same_scene")
FAMILY: Family = "duplicates"
EVIDENCE = {
    "partner": Evidence("Compared with"),
    "relation": Evidence("Relation", "name"),
    "certainty": Evidence("Certainty", "share"),
    "drop_from": Evidence("Drop from"),
    "keep_in": Evidence("Keep in"),
}

_SCENE_WEIGHT = 0.5
"""Another shot of the same scene is a weaker leak than the same picture: half its certainty ranks it below every copy."""

_WORDS = {
    "identical_bytes": "the same file as",
    "identical_pixels": "the same picture as",
    "re_encoded": "a re-encoded version of",
    "edited_copy": "an edited copy of",
    "same_scene": "the same scene as",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which side of a leak to drop."""

    keep: tuple[str, ...] = ("test", "val", "valid", "validation", "dev")
    """Splits to leave whole, the most precious first; the copy in any other split is proposed to be dropped."""


def drop_order(splits: npt.NDArray[np.object_], keep: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return ``[n]`` how willingly each sample is dropped: its split's place in ``keep``; splits not named there go first; -1 for no split."""
    place = {split: at for at, split in enumerate(keep)}
    return np.array([place.get(split.lower(), len(keep)) if isinstance(split, str) else -1 for split in splits], np.int64)


def run(samples: pd.DataFrame, pairs: pd.DataFrame, *, options: Options) -> Result | Skipped:
    """Report every image that has a verified copy in another split; failed images and those in no split have no score."""
    splits = samples["split"].to_numpy(object)
    named = sorted(samples["split"].dropna().unique())
    if len(named) < 2:
        return Skipped(f"all images are in one split, {named[0]!r}" if named else "no splits in this dataset")
    order, names = drop_order(splits, options.keep), samples["sample_id"].to_numpy(object)
    scores = np.where(samples["outcome"] == "ok", 0.0, np.nan).astype(np.float32)
    scores[order < 0] = np.nan
    pairs = pd.concat([pairs, _implied(pairs, splits, order, names)], ignore_index=True)
    first, second = pairs["i"].to_numpy(np.int64), pairs["j"].to_numpy(np.int64)
    across = (order[first] >= 0) & (order[second] >= 0) & (splits[first] != splits[second])
    crossing, first, second = pairs[across], first[across], second[across]
    # Between two splits of equal standing the later name goes, whichever row comes first.
    swap = np.array([(order[i], splits[i]) < (order[j], splits[j]) for i, j in zip(first, second, strict=True)], bool)
    dropped, kept = np.where(swap, second, first), np.where(swap, first, second)
    findings = []
    for row, partner, group, relation, certainty in zip(
        dropped.tolist(), kept.tolist(), crossing["group"].tolist(), crossing["relation"], crossing["score"].tolist(), strict=True
    ):
        score = min(max(certainty, 0.0), 1.0) * (_SCENE_WEIGHT if relation == "same_scene" else 1.0)
        scores[row], scores[partner] = np.fmax(scores[row], score), np.fmax(scores[partner], score)
        message = f"In {splits[row]!r}, is {_WORDS[relation]} {names[partner]!r} in {splits[partner]!r}; drop it from {splits[row]!r}."
        evidence = {"relation": relation, "certainty": certainty, "drop_from": splits[row], "keep_in": splits[partner]}
        findings.append(
            Finding(
                kind=relation,
                score=score,
                severity="warning" if relation == "same_scene" else "error",
                message=message,
                row=row,
                partner=partner,
                group=group if group >= 0 else None,
                evidence=evidence,
            )
        )
    return Result(scores, findings)


def _implied(pairs: pd.DataFrame, splits: npt.NDArray[np.object_], order: npt.NDArray[np.int64], names: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Return a pair for every image that leaks only through an identical one: of those, one alone was compared with other pictures."""
    # Of two images in different splits the one of the higher rank is dropped; of identical ones the lowest is joined to.
    place, _ = pd.factorize(pd.Series(splits), sort=True)
    rank = np.argsort(np.lexsort((np.argsort(np.argsort(names)), place, order)))

    def dropped(some: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Return the row that each pair drops; -1 where its images are not in two splits."""
        i, j = some["i"].to_numpy(np.int64), some["j"].to_numpy(np.int64)
        return np.where((place[i] != place[j]) & (order[i] >= 0) & (order[j] >= 0), np.where(rank[i] < rank[j], j, i), -1)

    found = implied_by_identical_copies(pairs, np.where(order >= 0, place, -1), rank)
    found = found.assign(
        dropped=dropped(found), rank=rank[found[["i", "j"]]].min(axis=1), relation=pd.Categorical(found["relation"], RELATIONS, ordered=True)
    )
    found = found[(found["dropped"] >= 0) & ~found["dropped"].isin(dropped(pairs))]
    found = found.sort_values(["dropped", "relation", "score", "rank"], ascending=[True, True, False, True]).drop_duplicates("dropped")
    return found.astype({"relation": pairs["relation"].dtype})[["i", "j", "relation", "score", "group"]]

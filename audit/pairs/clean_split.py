"""Propose a leak-free split: which images to drop, and why, so that no verified pair remains across two splits.

Of each verified pair across two splits, the image in the split of lower priority is dropped. Copies within one split do not leak and stay. Whole
groups (patients, videos, senders) move into one split first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from audit.pairs.duplicate_sets import IDENTICAL, identical_sets
from audit.tables import RELATIONS

KEEP = ("test", "val", "valid", "validation", "dev")
"""Splits to keep whole, highest priority first; all other splits have lower priority."""

_WORDS = {
    "identical_bytes": "is the same file as",
    "identical_pixels": "is the same picture as",
    "re_encoded": "is a re-encoded version of",
    "edited_copy": "is an edited copy of",
    "same_scene": "is another shot of the same thing as",
}


def whole_groups(samples: pd.DataFrame, *, keep: Sequence[str] = KEEP) -> pd.DataFrame:
    """Return the images of groups that are in several splits, with the split that each whole group should be in.

    A group moves to the split that has most of its images; of equal ones, to the one of highest priority. Images without a split do not move.

    Args:
        samples: columns ``sample_id``, ``split`` and ``group``.
        keep: splits of highest priority first, case ignored; other splits follow in alphabetical order.

    Returns:
        One line per image, by row: ``row``, ``group``, ``split``, ``new_split``.
    """
    known = samples.assign(row=np.arange(len(samples)), rank=_drop_rank(samples["split"], keep)).dropna(subset=["group", "split"])
    known = known[known.groupby("group")["split"].transform("nunique") > 1]
    sizes = known.groupby(["group", "split", "rank"], as_index=False).size().sort_values(["group", "size", "rank"], ascending=[True, False, True])
    best = sizes.drop_duplicates("group").set_index("group")["split"]
    return known.assign(new_split=known["group"].map(best))[["row", "group", "split", "new_split"]].reset_index(drop=True)


def propose(samples: pd.DataFrame, pairs: pd.DataFrame, *, keep: Sequence[str] = KEEP) -> pd.DataFrame:
    """Propose which images to drop from which split.

    Args:
        samples: columns ``sample_id`` and ``split``.
        pairs: columns ``i``, ``j``, ``relation`` and ``score`` of ``audit.tables.PAIRS``.
        keep: splits to keep whole, highest priority first, case ignored; other splits follow in alphabetical order.

    Returns:
        One line per image to drop, by row: ``row``, ``sample_id``, ``split`` (where it is dropped), ``partner`` (``sample_id`` of the most certain
        copy in a split of higher priority) and ``reason``. Images without a split are never dropped.
    """
    splits, names = samples["split"].to_numpy(object), samples["sample_id"].to_numpy(object)
    rank = _drop_rank(samples["split"], keep)
    edges = _with_identical_copies(pairs, rank)
    one, other = edges["i"].to_numpy(np.int64), edges["j"].to_numpy(np.int64)
    across = (rank[one] >= 0) & (rank[other] >= 0) & (rank[one] != rank[other])
    one, other, edges = one[across], other[across], edges[across]
    later = rank[one] > rank[other]
    found = pd.DataFrame(
        {
            "row": np.where(later, one, other),
            "kept": np.where(later, other, one),
            "relation": pd.Categorical(edges["relation"], categories=RELATIONS, ordered=True),
            "score": edges["score"].to_numpy(),
        }
    )
    found["name"] = names[found["kept"].to_numpy()]
    found = found.sort_values(["row", "relation", "score", "name"], ascending=[True, True, False, True]).drop_duplicates("row")
    rows, kept = found["row"].to_numpy(), found["kept"].to_numpy()
    reasons = [f"{_WORDS[relation]} {names[at]!r} in {splits[at]!r}" for relation, at in zip(found["relation"], kept.tolist(), strict=True)]
    return pd.DataFrame({"row": rows, "sample_id": names[rows], "split": splits[rows], "partner": names[kept], "reason": reasons})


def _drop_rank(splits: pd.Series, keep: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the rank of each image's split, the highest dropped first; -1 for no split."""
    place = {name.lower(): at for at, name in reversed(list(enumerate(keep)))}
    named = sorted(splits.dropna().unique(), key=lambda split: (place.get(split.lower(), len(place)), split))
    order = {split: at for at, split in enumerate(named)}
    return splits.map(order).fillna(-1).to_numpy(np.int64)


def _with_identical_copies(pairs: pd.DataFrame, rank: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pd.DataFrame:
    """Add the pairs that follow from identity: identical copies match each other, and whatever one of them matches.

    Each copy is joined only to the copy of the other side with the highest priority: joining all to all grows with the square of the set.
    """
    columns, rows = ["i", "j", "relation", "score"], len(rank)
    exact = pairs["relation"].isin(IDENTICAL).to_numpy()
    if not exact.any():
        return pairs[columns]
    one, other, sets = pairs["i"].to_numpy(np.int64), pairs["j"].to_numpy(np.int64), identical_sets(pairs, rows)
    members = pd.DataFrame({"set": sets, "i": np.arange(rows), "rank": np.where(rank < 0, rows, rank)})
    best = members.sort_values(["set", "rank", "i"]).drop_duplicates("set").set_index("set")["i"]
    crowded = members[np.isin(sets, sets[one[exact]])]
    inner = crowded.assign(j=best.loc[crowded["set"]].to_numpy(), relation="identical_pixels", score=1.0)
    near = pairs.loc[~exact, ["relation", "score"]]
    both = [near.assign(set=sets[side[~exact]], j=best.loc[sets[opposite[~exact]]].to_numpy()) for side, opposite in ((one, other), (other, one))]
    spread = pd.concat(both).merge(members[["set", "i"]], on="set")
    return pd.concat([pairs[columns], inner.loc[inner["i"] != inner["j"], columns], spread[columns]], ignore_index=True)

"""Splits without leaks: which images to drop, and why, so that no verified pair is left across two splits.

Every verified pair of images in two splits is an edge between them; of each edge the image in the less precious split goes. An image that already
went takes all its edges with it, but within the precious split nothing is dropped: two copies in ``test`` leak nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from audit.pairs.duplicate_sets import IDENTICAL, identical_sets
from audit.tables import RELATIONS

KEEP = ("test", "val", "valid", "validation", "dev")
"""Splits to leave whole, the most precious first; any other split gives way to these."""

_WORDS = {
    "identical_bytes": "is the same file as",
    "identical_pixels": "is the same picture as",
    "re_encoded": "is a re-encoded version of",
    "edited_copy": "is an edited copy of",
    "same_scene": "shows the same scene as",
}


def propose(samples: pd.DataFrame, pairs: pd.DataFrame, *, keep: Sequence[str] = KEEP) -> pd.DataFrame:
    """Propose which images to drop from which split.

    Args:
        samples: columns ``sample_id`` and ``split``.
        pairs: columns ``i``, ``j``, ``relation`` and ``score`` of ``audit.tables.PAIRS``.
        keep: splits to leave whole, the most precious first, case ignored; those not named give way, the later name first.

    Returns:
        One line per image to drop, by row: ``row``, ``sample_id``, ``split`` (where it is dropped), ``partner`` (``sample_id`` of the most certain
        copy in a split that is kept) and ``reason``. Images without a split are never dropped.
    """
    splits, names = samples["split"].to_numpy(object), samples["sample_id"].to_numpy(object)
    standing = _standing(samples["split"], keep)
    edges = _with_twins(pairs, standing)
    one, other = edges["i"].to_numpy(np.int64), edges["j"].to_numpy(np.int64)
    across = (standing[one] >= 0) & (standing[other] >= 0) & (standing[one] != standing[other])
    one, other, edges = one[across], other[across], edges[across]
    later = standing[one] > standing[other]
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


def _standing(splits: pd.Series, keep: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how willingly each image is dropped, distinct for distinct splits; -1 where it is in none."""
    place = {name.lower(): at for at, name in reversed(list(enumerate(keep)))}
    named = sorted(splits.dropna().unique(), key=lambda split: (place.get(split.lower(), len(place)), split))
    order = {split: at for at, split in enumerate(named)}
    return splits.map(order).fillna(-1).to_numpy(np.int64)


def _with_twins(pairs: pd.DataFrame, standing: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pd.DataFrame:
    """Add what follows from being identical: the copies of an image match whatever it matches, and each other.

    Each is joined to the most precious copy of the other side: joining all to all would grow with the square of a set of copies.
    """
    columns, rows = ["i", "j", "relation", "score"], len(standing)
    exact = pairs["relation"].isin(IDENTICAL).to_numpy()
    if not exact.any():
        return pairs[columns]
    one, other, twins = pairs["i"].to_numpy(np.int64), pairs["j"].to_numpy(np.int64), identical_sets(pairs, rows)
    members = pd.DataFrame({"twin": twins, "i": np.arange(rows), "standing": np.where(standing < 0, rows, standing)})
    best = members.sort_values(["twin", "standing", "i"]).drop_duplicates("twin").set_index("twin")["i"]
    crowded = members[np.isin(twins, twins[one[exact]])]
    inner = crowded.assign(j=best.loc[crowded["twin"]].to_numpy(), relation="identical_pixels", score=1.0)
    near = pairs.loc[~exact, ["relation", "score"]]
    both = [near.assign(twin=twins[side[~exact]], j=best.loc[twins[opposite[~exact]]].to_numpy()) for side, opposite in ((one, other), (other, one))]
    spread = pd.concat(both).merge(members[["twin", "i"]], on="twin")
    return pd.concat([pairs[columns], inner.loc[inner["i"] != inner["j"], columns], spread[columns]], ignore_index=True)

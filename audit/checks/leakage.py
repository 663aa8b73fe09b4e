"""The same image or group in two splits, so that a model is evaluated on what it was trained on.

Why it matters: a test image with a copy in train measures memory, not ability. Each finding proposes the image to drop: by default from train, so
that published test scores stay comparable.

Different images of one patient, product, video or sender leak too. They are found if the scan was given a group column or pattern.

Blind spots: those of the verified pairs that it reads; groups that the scan was not given.

Paper: Barz & Denzler 2020, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 6(6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped
from audit.io.console import counted
from audit.pairs.clean_split import whole_groups
from audit.pairs.duplicate_sets import implied_by_identical_copies
from audit.tables import RELATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

KINDS = ("identical_bytes", "identical_pixels", "re_encoded", "edited_copy", "same_scene", "same_group")
FAMILY: Family = "duplicates"
EVIDENCE = {
    "partner": Evidence("Compared with"),
    "relation": Evidence("Relation", "name"),
    "certainty": Evidence("Certainty", "share"),
    "drop_from": Evidence("Drop from"),
    "keep_in": Evidence("Keep in"),
    "images": Evidence("Images of the group", by_name=True),
}

_SCENE_WEIGHT = 0.5
"""Another shot of the same thing leaks less than a copy; half its certainty ranks it below every copy."""

_GROUP_SCORE = 0.4
"""Score of the images of a group in several splits: below copies and most scenes, because other images of a patient or product differ more."""

_WORDS = {
    "identical_bytes": "Same file as",
    "identical_pixels": "Same pixels as",
    "re_encoded": "Re-encoded copy of",
    "edited_copy": "Edited copy of",
    "same_scene": "Another shot of the same thing as",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which image of a leak to drop."""

    keep: tuple[str, ...] = ("test", "val", "valid", "validation", "dev")
    """Splits to leave complete, the most important first; copies in other splits are dropped first."""


def drop_order(splits: npt.NDArray[np.object_], keep: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return ``[n]`` priority for dropping: the split's position in ``keep``; other splits are dropped first; -1 without a split."""
    position = {split: at for at, split in enumerate(keep)}
    return np.array([position.get(split.lower(), len(keep)) if isinstance(split, str) else -1 for split in splits], np.int64)


def run(samples: pd.DataFrame, pairs: pd.DataFrame, *, options: Options) -> Result | Skipped:
    """Report images with a verified copy in another split, and groups in several splits; failed images and images without a split have no score."""
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
    # Between two splits of equal priority, the image in the later name is dropped, so the order of rows does not matter.
    swap = np.array([(order[i], splits[i]) < (order[j], splits[j]) for i, j in zip(first, second, strict=True)], bool)
    dropped, kept = np.where(swap, second, first), np.where(swap, first, second)
    findings = []
    for row, partner, group, relation, certainty in zip(
        dropped.tolist(), kept.tolist(), crossing["group"].tolist(), crossing["relation"], crossing["score"].tolist(), strict=True
    ):
        score = min(max(certainty, 0.0), 1.0) * (_SCENE_WEIGHT if relation == "same_scene" else 1.0)
        scores[row], scores[partner] = np.fmax(scores[row], score), np.fmax(scores[partner], score)
        fix = "Keep both in one split." if relation == "same_scene" else f"Drop it from {splits[row]}."
        message = f"{_WORDS[relation]} {names[partner]} ({splits[row]} ↔ {splits[partner]}). {fix}"
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
    return Result(scores, [*findings, *_of_groups(samples, scores, options.keep)], _note(samples, len(findings), named))


def _note(samples: pd.DataFrame, leaks: int, splits: list[str]) -> str:
    """Return what was compared, and that groups which the scan was not given are not seen."""
    among = ", ".join(splits)
    copies = f"{counted(leaks, 'verified pair')} of copies or shots across {among}" if leaks else f"no verified copy or shot is in two of {among}"
    if samples["group"].notna().any():
        return f"{copies}; {samples['group'].nunique():,} groups were looked at"
    return f"{copies}; without --group-column or --group-pattern, other images of one person, patient, product or video in two splits are not seen"


def _of_groups(samples: pd.DataFrame, scores: npt.NDArray[np.float32], keep: tuple[str, ...]) -> Iterator[Finding]:
    """Yield a finding for each group in several splits, about one of its images outside the split with most of them; raise its images' scores."""
    names = samples["sample_id"].to_numpy(object)
    split_of = whole_groups(samples, keep=keep)
    for _, members in split_of.groupby("group", sort=True):
        rows, inside = members["row"].to_numpy(), (members["split"] == members["new_split"]).to_numpy()
        scores[rows] = np.fmax(scores[rows], np.where(np.isfinite(scores[rows]), np.float32(_GROUP_SCORE), np.float32(np.nan)))
        row, partner = (min(some.tolist(), key=lambda at: str(names[at])) for some in (rows[~inside], rows[inside]))
        counts = {str(split): int(count) for split, count in sorted(members["split"].value_counts().items())}
        other, most = samples["split"].iloc[row], members["new_split"].iloc[0]
        shares = ", ".join(f"{split} {count:,}" for split, count in counts.items())
        yield Finding(
            kind="same_group",
            score=_GROUP_SCORE,
            message=f"Same group as {names[partner]} ({other} ↔ {most}); images of the group: {shares}. Move the whole group to one split.",
            row=row,
            partner=partner,
            evidence={"relation": "same_group", "images": counts, "drop_from": other, "keep_in": most},
        )


def _implied(pairs: pd.DataFrame, splits: npt.NDArray[np.object_], order: npt.NDArray[np.int64], names: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Return a pair for every image that leaks only through an identical copy: only one of identical copies was compared with other images."""
    # Of two images in different splits, the one with the higher rank is dropped; identical copies are joined to the lowest rank.
    split_codes, _ = pd.factorize(pd.Series(splits), sort=True)
    rank = np.argsort(np.lexsort((np.argsort(np.argsort(names)), split_codes, order)))

    def dropped(some: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Return the row that each pair drops; -1 if both images are in one split."""
        i, j = some["i"].to_numpy(np.int64), some["j"].to_numpy(np.int64)
        return np.where((split_codes[i] != split_codes[j]) & (order[i] >= 0) & (order[j] >= 0), np.where(rank[i] < rank[j], j, i), -1)

    found = implied_by_identical_copies(pairs, np.where(order >= 0, split_codes, -1), rank)
    found = found.assign(
        dropped=dropped(found), rank=rank[found[["i", "j"]]].min(axis=1), relation=pd.Categorical(found["relation"], RELATIONS, ordered=True)
    )
    found = found[(found["dropped"] >= 0) & ~found["dropped"].isin(dropped(pairs))]
    found = found.sort_values(["dropped", "relation", "score", "rank"], ascending=[True, True, False, True]).drop_duplicates("dropped")
    return found.astype({"relation": pairs["relation"].dtype})[["i", "j", "relation", "score", "group"]]

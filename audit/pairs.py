"""Pairs of images that are the same picture: proposed by neighbors and hashes, verified on pixels, named by kind, and grouped.

Identical bytes and identical pixels are certain. Anything else is a candidate (a near neighbor, or a perceptual hash a few bits away) until its
thumbnails fit;
``docs/pairs.md`` says how the score was calibrated and how good it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.tables import PAIRS
from audit.verification import Evidence, promising, verify

Rows = npt.NDArray[np.int64]

# Logistic regression on the judged CIFAR-10 pairs and on unjudged candidates that fit badly, and on Tiny ImageNet's candidates; mean of two folds.
_DETAIL, _LUMA, _COSINE, _INTERCEPT = 9.9, 11.9, 16.7, -30.4

_LEAST_SCORE = ((0.90, 0.3), (0.95, 0.5), (0.99, 0.9))
"""Expected precision -> the score from which pairs are kept, as measured out of fold on the judged CIFAR-10 pairs."""

SAME_ENCODING_DIFFERENCE = 0.03
"""Mean absolute RGB difference of aligned thumbnails up to which an unshifted pair is a re-encoding; recompression to JPEG quality 30 stays below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """What counts as a pair."""

    min_precision: float = 0.95
    """Pairs are kept down to the score at which this share of them is expected to be right."""
    neighbors: int = 10
    """Nearest neighbors of an image that are looked at; 98% of the judged CIFAR-10 duplicates are among the first 10."""
    hamming: int = 6
    """Perceptual hashes that differ in at most so many of their 64 bits are looked at too."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Verified pairs, and everything that was looked at."""

    table: pd.DataFrame
    """Columns of ``audit.tables.PAIRS``."""
    verified: pd.DataFrame
    """Every pair looked at, by content: handed back in, it is not looked at again."""


_LOOKED_AT = ["first", "second", "correlation", "detail_correlation", "color_difference", "mirrored", "down", "right"]


def find_pairs(
    samples: pd.DataFrame,
    thumbnails: npt.NDArray[np.uint8],
    neighbors: npt.NDArray[np.int32],
    similarities: npt.NDArray[np.float32],
    *,
    options: PairOptions = PairOptions(),
    cache: pd.DataFrame | None = None,
    advance: Callable[[int], None] | None = None,
) -> Pairs:
    """Find the pairs of images that are the same picture.

    Args:
        samples: columns ``outcome``, ``content_id``, ``pixel_id``, ``perceptual_hash``, ``width`` and ``height``.
        thumbnails: uint8 ``[n, s, s, 3]`` whole images, squashed; may be memory-mapped.
        neighbors: int32 ``[n, k]`` rows; -1 where there is none.
        similarities: float32 ``[n, k]`` cosines.
        options: what counts as a pair.
        cache: ``verified`` of an earlier call on most of the same images.
        advance: told how many more rows are done.
    """
    ok = (samples["outcome"] == "ok").to_numpy()
    leaders, exact = _identical(samples, ok)
    first, second, cosine = _near(neighbors, similarities, leaders, options.neighbors)
    first, second, cosine = _with_near_hashes(samples, leaders, ok, (first, second, cosine), options.hamming)
    looked_at = _look(samples, thumbnails, first, second, cache)
    evidence = _evidence(looked_at)
    score = _score(evidence, cosine)
    kept = score >= _least_score(options.min_precision)
    near = _table(first[kept], second[kept], _relations(evidence, kept), score[kept], cosine[kept], _describe(looked_at[kept]))
    table = pd.concat([exact, near], ignore_index=True) if len(near) else exact
    table["hamming"] = _hamming(samples, table)
    table = _grouped(table, samples)
    if advance is not None:
        advance(len(samples))
    return Pairs(table, looked_at)


def _identical(samples: pd.DataFrame, ok: npt.NDArray[np.bool_]) -> tuple[Rows, pd.DataFrame]:
    """Return, per row, the first row with the same pixels, and the exact pairs: every copy with the first of its kind."""
    rows = np.arange(len(samples))
    by_pixels = rows.copy()
    by_pixels[ok] = pd.Series(rows[ok]).groupby(samples["pixel_id"].to_numpy()[ok]).transform("min").to_numpy()
    known = samples["content_id"].notna().to_numpy()
    by_bytes = rows.copy()
    by_bytes[known] = pd.Series(rows[known]).groupby(samples["content_id"].to_numpy()[known]).transform("min").to_numpy()
    leaders = np.where(ok, by_pixels, by_bytes)
    copies = np.flatnonzero((leaders != rows) & (samples["byte_size"].fillna(0).to_numpy() > 0))
    content = samples["content_id"].to_numpy()
    relations = np.where(content[copies] == content[leaders[copies]], "identical_bytes", "identical_pixels")
    cosine = np.where(ok[copies], 1.0, np.nan)
    return leaders, _table(leaders[copies], copies, relations, np.ones(len(copies)), cosine, ["{}"] * len(copies))


def _near(
    neighbors: npt.NDArray[np.int32], similarities: npt.NDArray[np.float32], leaders: Rows, count: int
) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    """Return the distinct pairs of near neighbors, byte and pixel twins standing for each other."""
    near, cosine = neighbors[:, :count], similarities[:, :count].ravel()
    one, other = np.repeat(np.arange(len(near)), near.shape[1]), near.ravel().astype(np.int64)
    there = other >= 0
    one, other, cosine = leaders[one[there]], leaders[other[there]], cosine[there]
    return _distinct(one, other, cosine)


def _distinct(one: Rows, other: Rows, cosine: npt.NDArray[np.float32]) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    first, second = np.minimum(one, other), np.maximum(one, other)
    apart = first != second
    first, second, cosine = first[apart], second[apart], cosine[apart]
    _, at = np.unique(first * (int(second.max(initial=0)) + 1) + second, return_index=True)
    return first[at], second[at], cosine[at]


def _with_near_hashes(
    samples: pd.DataFrame, leaders: Rows, ok: npt.NDArray[np.bool_], known: tuple[Rows, Rows, npt.NDArray[np.float32]], radius: int
) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    """Add the pairs whose perceptual hashes are at most ``radius`` bits apart; their cosine is unknown where they are no neighbors."""
    own = np.flatnonzero(ok & (leaders == np.arange(len(leaders))))
    if len(own) < 2:
        return known
    codes = _hashes(samples)[own].view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryHash(64, 16) if len(own) > _BRUTE_FORCE_UP_TO else faiss.IndexBinaryFlat(64)
    index.add(codes)
    found: list[tuple[Rows, Rows]] = []
    for start in range(0, len(own), _HASHES_AT_ONCE):
        limits, _, at = index.range_search(codes[start : start + _HASHES_AT_ONCE], radius + 1)
        one = np.repeat(np.arange(len(limits) - 1) + start, np.diff(limits.astype(np.int64)))
        crowded = np.repeat(np.diff(limits.astype(np.int64)) > _CROWD, np.diff(limits.astype(np.int64)))
        kept = (at > one) & ~crowded
        found.append((own[one[kept]], own[at[kept]]))
    one, other = (np.concatenate(side) for side in zip(*found, strict=True))
    first, second = np.concatenate([known[0], one]), np.concatenate([known[1], other])
    cosine = np.concatenate([known[2], np.full(len(one), np.nan, np.float32)])
    return _distinct(first, second, cosine)


_BRUTE_FORCE_UP_TO, _HASHES_AT_ONCE = 150_000, 4096
_CROWD = 50
"""A hash with more near ones than this belongs to a kind of picture (blank, one logo) that the hash cannot tell apart; neighbors still propose
pairs."""


def _look(samples: pd.DataFrame, thumbnails: npt.NDArray[np.uint8], first: Rows, second: Rows, cache: pd.DataFrame | None) -> pd.DataFrame:
    """Return the evidence of every pair, taken from the cache where it is there."""
    content = samples["content_id"].to_numpy()
    # Evidence is measured from the image with the smaller content id to the other: it must not depend on which row comes first.
    swap = content[first] > content[second]
    one, other = np.where(swap, second, first), np.where(swap, first, second)
    looked = pd.DataFrame({"first": content[one], "second": content[other]})
    if cache is not None and len(cache):
        looked = looked.merge(cache, on=["first", "second"], how="left")
        todo = looked["correlation"].isna().to_numpy()
    else:
        for name in _LOOKED_AT[2:]:
            looked[name] = np.nan
        todo = np.ones(len(looked), bool)
    rows = np.flatnonzero(todo)
    if len(rows):
        close = promising(thumbnails, one[rows], other[rows])
        measured = {name: np.zeros(len(rows), np.float32) for name in _LOOKED_AT[2:]}
        found = verify(thumbnails, one[rows[close]], other[rows[close]])
        measured["correlation"][close] = found.correlation
        measured["detail_correlation"][close] = found.detail_correlation
        measured["color_difference"][close] = found.color_difference
        measured["mirrored"][close] = found.mirrored
        measured["down"][close], measured["right"][close] = found.shift.T
        for name, values in measured.items():
            column = looked[name].to_numpy(np.float32, copy=True)
            column[rows] = values
            looked[name] = column
    return looked[_LOOKED_AT]


def _evidence(looked: pd.DataFrame) -> Evidence:
    return Evidence(
        looked["correlation"].to_numpy(np.float32),
        looked["detail_correlation"].to_numpy(np.float32),
        looked["color_difference"].to_numpy(np.float32),
        looked["mirrored"].to_numpy() > 0,
        looked[["down", "right"]].to_numpy().astype(np.int8),
    )


def _score(evidence: Evidence, cosine: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    # A pair that only its hashes proposed has no cosine: it is as alike as neighbors of a good pair usually are, and its pixels decide.
    known = np.where(np.isnan(cosine), 0.75, cosine)
    logit = _DETAIL * evidence.detail_correlation + _LUMA * evidence.correlation + _COSINE * known + _INTERCEPT
    score = 1 / (1 + np.exp(-np.clip(logit.astype(np.float64), -50, 50)))
    return np.where(evidence.detail_correlation > 0, score, 0)


def _least_score(precision: float) -> float:
    measured = np.array([(0.0, 0.05), *_LEAST_SCORE, (1.0, 0.99)])
    return float(np.interp(precision, measured[:, 0], measured[:, 1]))


def _relations(evidence: Evidence, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.str_]:
    still = np.abs(evidence.shift[kept]).max(axis=1, initial=0) <= 1
    same = still & ~evidence.mirrored[kept] & (evidence.color_difference[kept] <= SAME_ENCODING_DIFFERENCE)
    another = evidence.detail_correlation[kept] < _SAME_DETAILS
    return np.where(same, "re_encoded", np.where(another, "same_scene", "edited_copy"))


_SAME_DETAILS = 0.5
"""Correlation of details below which two aligned pictures are rather two shots of one scene than one picture edited."""


def _describe(looked: pd.DataFrame) -> list[str]:
    numbers = looked[["correlation", "detail_correlation", "color_difference"]].to_numpy(np.float64).round(4)
    mirrored, shifts = (looked["mirrored"] > 0).to_numpy(), looked[["down", "right"]].to_numpy(np.int64)
    return [
        json.dumps({"correlation": whole, "detail_correlation": details, "color_difference": color, "mirrored": bool(flip), "shift": shift})
        for (whole, details, color), flip, shift in zip(numbers.tolist(), mirrored, shifts.tolist(), strict=True)
    ]


def _table(first: Rows, second: Rows, relation: object, score: object, cosine: object, evidence: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"i": first, "j": second, "relation": relation, "score": score, "group": -1, "cosine": cosine, "hamming": 0, "evidence": evidence}
    )


def _hamming(samples: pd.DataFrame, table: pd.DataFrame) -> npt.NDArray[np.int16]:
    hashes = _hashes(samples)
    different: npt.NDArray[np.uint64] = hashes[table["i"].to_numpy()] ^ hashes[table["j"].to_numpy()]
    return np.asarray(np.bitwise_count(different), dtype=np.int16)


def _hashes(samples: pd.DataFrame) -> npt.NDArray[np.uint64]:
    return np.asarray(samples["perceptual_hash"].astype("UInt64").fillna(0), dtype=np.uint64)


def _grouped(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Assign groups in which every member was matched with the representative: the image with most matches, then with most pixels, leads."""
    partners: dict[int, list[int]] = {}
    for i, j in zip(table["i"].tolist(), table["j"].tolist(), strict=True):
        partners.setdefault(i, []).append(j)
        partners.setdefault(j, []).append(i)
    area = (samples["width"].fillna(0) * samples["height"].fillna(0)).to_numpy()
    content = samples["content_id"].fillna("").to_numpy()
    group: dict[int, int] = {}
    for row in sorted(partners, key=lambda row: (-len(partners[row]), -area[row], content[row], row)):
        if row not in group:
            free = [other for other in partners[row] if other not in group]
            if free:
                group[row] = row
                group.update(dict.fromkeys(free, row))
    groups = np.array([group.get(i, -1) if group.get(i) == group.get(j) else -1 for i, j in zip(table["i"], table["j"], strict=True)], np.int32)
    table = table.assign(group=groups).sort_values(["i", "j"], ignore_index=True)[PAIRS.names]
    typed: pd.DataFrame = table.astype({"i": np.int32, "j": np.int32, "score": np.float32, "cosine": np.float32, "hamming": np.int16})
    return typed

"""Find pairs of copies: proposed by neighbors and hashes, verified on pixels, classified and grouped.

Identical bytes and identical pixels are certain. Any other pair is a candidate (``audit.pairs.candidates``) until its thumbnails are aligned and
compared (``audit.pairs.verification``); ``audit.pairs.score`` computes its probability and relation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.pairs.alignment import backwards
from audit.pairs.candidates import Candidates, candidates, distinct
from audit.pairs.groups import group
from audit.pairs.reuse import Digests, KnownPairs, digests, remember
from audit.pairs.score import LEAST_SCORE, OperatingPoint, margin, operating_point, relations, score
from audit.pairs.verification import Evidence, concatenated, promising, verify
from audit.tables import PAIRS

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """Options of the pair search."""

    min_precision: float = 0.95
    """Pairs are kept down to the score at which this share of them is expected to be right."""
    least_score: float = LEAST_SCORE
    """Pairs below this score are never kept: they are more likely wrong than right."""
    neighbors: int = 20
    """Nearest neighbors that are candidates; 96% of the judged CIFAR-10 duplicates are among the first 10, 98% among 20."""
    hamming: int = 6
    """Perceptual hashes that differ in at most this many of their 64 bits are candidates, too; at most 7."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Verified pairs, and the measurements of all candidates."""

    table: pd.DataFrame
    """Columns of ``audit.tables.PAIRS``."""
    known: KnownPairs
    """Measured candidates, to be reused by the next call."""
    operating_point: OperatingPoint


_NUMBERS = ("correlation", "detail_correlation", "residual", "color_difference", "local_difference", "overlap")


def find_pairs(
    samples: pd.DataFrame,
    thumbnails: npt.NDArray[np.uint8],
    neighbors: npt.NDArray[np.int32],
    similarities: npt.NDArray[np.float32],
    *,
    options: PairOptions = PairOptions(),
    known: KnownPairs | None = None,
    advance: Callable[[int], None] | None = None,
) -> Pairs:
    """Find the pairs of images that are copies of each other.

    Args:
        samples: columns ``outcome``, ``content_id``, ``pixel_id``, ``perceptual_hash``, ``width`` and ``height``.
        thumbnails: uint8 ``[n, s, s, 3]`` whole images, squashed; may be memory-mapped.
        neighbors: int32 ``[n, k]`` rows; -1 = none.
        similarities: float32 ``[n, k]`` cosines.
        options: options of the search.
        known: ``Pairs.known`` of an earlier call on most of the same images.
        advance: called with the number of rows done since the last call.
    """
    known = known or KnownPairs()
    ok = (samples["outcome"] == "ok").to_numpy()
    leaders, exact = _identical(samples, ok)
    hashes, content = _hashes(samples), _short_ids(samples)
    near, parts, scores, unlike = [], [], [], []
    for block in candidates(neighbors[:, : options.neighbors], similarities[:, : options.neighbors], hashes, ok, leaders, options.hamming):
        kept, evidence, others = _look(thumbnails, content, block, known)
        unlike.append(others)
        near.append((block.first[kept], block.second[kept], block.cosine[kept]))
        parts.append(evidence)
        scores.append(score(evidence, margin(block.cosine[kept], block.first[kept], block.second[kept], similarities)))
        if advance is not None:
            advance(block.rows)
    first, second, cosine = (np.concatenate(side) for side in zip(*near, strict=True)) if near else (_NO_ROWS, _NO_ROWS, _NO_COSINE)
    evidence, certainty = concatenated(parts), np.concatenate(scores) if scores else np.zeros(0)
    fresh = distinct(first, second, cosine)
    first, second, cosine, evidence, certainty = first[fresh], second[fresh], cosine[fresh], evidence.take(fresh), certainty[fresh]
    point = operating_point(certainty, options.min_precision, options.least_score)
    good = (certainty >= point.least_score) & (point.pairs > 0)
    found = _table(
        first[good],
        second[good],
        relations(evidence.take(good)),
        certainty[good],
        cosine[good],
        _describe(evidence.take(good), content[first[good]] > content[second[good]]),
    )
    table = pd.concat([exact, found], ignore_index=True) if len(found) else exact
    table["hamming"] = np.bitwise_count(hashes[table["i"].to_numpy()] ^ hashes[table["j"].to_numpy()]).astype(np.int16)
    area = (samples["width"].fillna(0) * samples["height"].fillna(0)).to_numpy(np.float64)
    table["group"] = group(table["i"].to_numpy(), table["j"].to_numpy(), area, samples["content_id"].fillna("").to_numpy(object))
    table = table.sort_values(["i", "j"], ignore_index=True)[PAIRS.names]
    typed = table.astype({"i": np.int32, "j": np.int32, "score": np.float32, "cosine": np.float32, "hamming": np.int16, "group": np.int32})
    looked_at = digests(*np.sort([content[first], content[second]], axis=0))
    return Pairs(typed, remember(looked_at, evidence, np.concatenate(unlike) if unlike else np.zeros(0, np.uint64)), point)


_NO_ROWS, _NO_COSINE = np.zeros(0, np.int64), np.zeros(0, np.float32)


def _look(thumbnails: npt.NDArray[np.uint8], content: npt.NDArray[np.uint64], block: Candidates, known: KnownPairs) -> tuple[Rows, Evidence, Digests]:
    """Return which of the candidates look alike, their evidence, and the digests of the others."""
    # Evidence must not depend on row order, so it is measured from the image with the smaller content id to the other.
    swap = content[block.first] > content[block.second]
    one, other = np.where(swap, block.second, block.first), np.where(swap, block.first, block.second)
    pairs = digests(content[one], content[other])
    at = known.find(pairs)
    fresh = np.flatnonzero((at < 0) & ~known.are_unlike(pairs))
    close, starts = promising(thumbnails, one[fresh], other[fresh])
    fresh = fresh[close]
    seen = np.flatnonzero(at >= 0)
    kept = np.concatenate([seen, fresh])
    parts = [known.evidence.take(at[seen]), verify(thumbnails, one[fresh], other[fresh], starts[close])]
    order = np.argsort(kept)
    return kept[order], concatenated(parts).take(order), np.delete(pairs, kept)


def _short_ids(samples: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Return the last 64 bits of each content id; 0 for none."""
    digits = samples["content_id"].fillna("0" * 16).str.slice(-16)
    return np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.uint64)


def _identical(samples: pd.DataFrame, ok: npt.NDArray[np.bool_]) -> tuple[Rows, pd.DataFrame]:
    """Return the first row with the same pixels as each row, and the exact pairs: every copy with that first row."""
    rows = np.arange(len(samples))
    by_pixels = rows.copy()
    by_pixels[ok] = pd.Series(rows[ok]).groupby(samples["pixel_id"].to_numpy()[ok]).transform("min").to_numpy()
    # Files that hold no image at all, such as error pages, are not copies of an image.
    known = (samples["content_id"].notna() & (samples["outcome"] != "unreadable")).to_numpy()
    by_bytes = rows.copy()
    by_bytes[known] = pd.Series(rows[known]).groupby(samples["content_id"].to_numpy()[known]).transform("min").to_numpy()
    leaders = np.where(ok, by_pixels, by_bytes)
    copies = np.flatnonzero((leaders != rows) & (samples["byte_size"].fillna(0).to_numpy() > 0))
    content = samples["content_id"].to_numpy()
    relations = np.where(content[copies] == content[leaders[copies]], "identical_bytes", "identical_pixels")
    cosine = np.where(ok[copies], 1.0, np.nan)
    return leaders, _table(leaders[copies], copies, relations, np.ones(len(copies)), cosine, ["{}"] * len(copies))


def _describe(evidence: Evidence, swapped: npt.NDArray[np.bool_]) -> list[str]:
    """Return the evidence as JSON, with the transformation from the first row's image to the second's."""
    matrix = evidence.transform.astype(np.float64)
    matrix[swapped] = backwards(matrix[swapped], evidence.mirrored[swapped])
    numbers = np.stack([getattr(evidence, name) for name in _NUMBERS], axis=1).astype(np.float64).round(4).tolist()
    flat = matrix.reshape(-1, 6).round(4).tolist()
    return [
        json.dumps(dict(zip(_NUMBERS, values, strict=True)) | {"mirrored": mirrored, "transform": transform})
        for values, mirrored, transform in zip(numbers, evidence.mirrored.tolist(), flat, strict=True)
    ]


def _table(first: Rows, second: Rows, relation: object, certainty: object, cosine: object, evidence: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"i": first, "j": second, "relation": relation, "score": certainty, "group": -1, "cosine": cosine, "hamming": 0, "evidence": evidence}
    )


def _hashes(samples: pd.DataFrame) -> npt.NDArray[np.uint64]:
    return np.asarray(samples["perceptual_hash"].astype("UInt64").fillna(0), dtype=np.uint64)

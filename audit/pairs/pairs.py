"""Find pairs of copies: proposed by neighbors, hashes and local features, screened, confirmed on the images, classified and grouped.

Identical bytes and identical pixels are certain. Any other pair is a candidate (``audit.pairs.candidates``, ``audit.pairs.retrieval``). Local
features that agree (``audit.pairs.screening``) choose which candidates are worth a look at the images (``audit.pairs.confirmation``); images too
small for local features are compared as thumbnails (``audit.pairs.verification``). ``audit.pairs.score`` computes probabilities and relations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.images.local_features import LEAST_SIDE
from audit.images.measures import orientation_free_hashes
from audit.pairs.alignment import backwards
from audit.pairs.candidates import BLOCK, Candidates, candidates, distinct
from audit.pairs.confirmation import Confirm
from audit.pairs.edits import edits, shares
from audit.pairs.evidence import Evidence, concatenated, nothing
from audit.pairs.groups import group
from audit.pairs.retrieval import Shared, shared_features
from audit.pairs.reuse import Digests, KnownPairs, digests, remember
from audit.pairs.score import LEAST_SAME_THING, LEAST_SCORE, OperatingPoint, Scores, margin, operating_point, relations, score, with_own_share
from audit.pairs.screening import votes
from audit.pairs.verification import promising, verify
from audit.tables import PAIRS

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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
    least_votes: float = 0.25
    """Local features that must agree before two images are compared."""
    most_compared: float = 2.0
    """Pairs of images that are compared, the most distinctive first, for each image of the dataset; ``at_once`` at least."""
    at_once: int = 128
    """Pairs that are compared before the search decides whether more are worth it."""


@dataclass(frozen=True, slots=True)
class Images:
    """What is needed to compare images beyond their thumbnails."""

    features: npt.NDArray[np.uint8]
    """uint8 ``[n, FEATURES, FEATURE_BYTES]``, may be memory-mapped."""
    confirm: Confirm


@dataclass(frozen=True, slots=True)
class Pairs:
    """Verified pairs, and the measurements of all candidates."""

    table: pd.DataFrame
    """Columns of ``audit.tables.PAIRS``."""
    known: KnownPairs
    """Measured candidates, to be reused by the next call."""
    operating_point: OperatingPoint
    compared: int
    """Pairs of images that were compared."""
    left_out: int
    """Pairs whose features agree that were not compared: fewer features of these agree."""
    limited: bool
    """Whether they were left out although copies were still found, at ``PairOptions.most_compared``."""
    unreadable: int
    """Pairs that were not compared because an image can no longer be read."""


_NUMBERS = ("correlation", "detail_correlation", "residual", "color_difference", "local_difference")
_LIKELY = 0.9
"""Probability from which a compared pair counts as a copy."""
_LEAST_YIELD = 0.02
"""Share of copies and other shots among the last compared pairs below which the search stops: the pairs that follow agree less."""


def find_pairs(
    samples: pd.DataFrame,
    thumbnails: npt.NDArray[np.uint8],
    neighbors: npt.NDArray[np.int32],
    similarities: npt.NDArray[np.float32],
    images: Images | None = None,
    *,
    options: PairOptions = PairOptions(),
    known: KnownPairs | None = None,
    advance: Callable[[int], None] | None = None,
) -> Pairs:
    """Find the pairs of images that are copies of each other, or other shots of one thing.

    Args:
        samples: columns ``outcome``, ``content_id``, ``pixel_id``, ``perceptual_hash``, ``width`` and ``height``.
        thumbnails: uint8 ``[n, s, s, 3]`` whole images, squashed; may be memory-mapped.
        neighbors: int32 ``[n, k]`` rows; -1 = none.
        similarities: float32 ``[n, k]`` cosines.
        images: local features, and how to compare two images; without, all are compared as thumbnails.
        options: options of the search.
        known: ``Pairs.known`` of an earlier call on most of the same images.
        advance: called with the number of rows done since the last call.
    """
    known = known or KnownPairs()
    ok = (samples["outcome"] == "ok").to_numpy()
    leaders, exact = _identical(samples, ok)
    hashes, content = _hashes(samples), _short_ids(samples)
    size = samples[["width", "height"]].fillna(0).to_numpy(np.float64)
    own = np.flatnonzero(ok & (leaders == np.arange(len(leaders))))
    shared = shared_features(images.features, own) if images is not None else None
    search = _Search(content, thumbnails, similarities, known, images, shared, size, options)
    near = neighbors[:, : options.neighbors], similarities[:, : options.neighbors]
    for block in candidates(*near, (hashes, _orientation_free(thumbnails)), ok, leaders, options.hamming):
        search.look(block)
        if advance is not None:
            advance(block.rows)
    for block in shared.blocks() if shared is not None else ():
        search.look(block)
    found = search.finish()
    first, second, cosine, evidence, scores = found.first, found.second, found.cosine, found.evidence, found.scores
    point = operating_point(scores.copy, options.min_precision, options.least_score)
    kind = relations(evidence, scores, point)
    good = kind != ""
    certainty = np.where(kind == "same_scene", scores.same_thing, scores.copy)
    swapped = content[first[good]] > content[second[good]]
    pairs = _table(
        first[good],
        second[good],
        kind[good],
        certainty[good],
        cosine[good],
        _describe(evidence.take(good), swapped, size[first[good]], size[second[good]]),
    )
    table = pd.concat([exact, pairs], ignore_index=True) if len(pairs) else exact
    table["hamming"] = np.bitwise_count(hashes[table["i"].to_numpy()] ^ hashes[table["j"].to_numpy()]).astype(np.int16)
    area = size.prod(axis=1)
    table["group"] = group(table["i"].to_numpy(), table["j"].to_numpy(), area, samples["content_id"].fillna("").to_numpy(object))
    table = table.sort_values(["i", "j"], ignore_index=True)[PAIRS.names]
    typed = table.astype({"i": np.int32, "j": np.int32, "score": np.float32, "cosine": np.float32, "hamming": np.int16, "group": np.int32})
    return Pairs(typed, found.known, point, found.compared, found.left_out, found.limited, found.unreadable)


@dataclass(frozen=True, slots=True)
class _Found:
    """Distinct measured pairs, ``first`` < ``second``."""

    first: Rows
    second: Rows
    cosine: npt.NDArray[np.float32]
    evidence: Evidence
    scores: Scores
    known: KnownPairs
    compared: int
    left_out: int
    limited: bool
    unreadable: int


class _Search:
    """Measures candidates: those of small images at once, those whose features agree at the end, the most distinctive agreement first.

    Evidence must not depend on row order, so it is measured from the image with the smaller content id to the other.
    """

    def __init__(
        self,
        content: npt.NDArray[np.uint64],
        thumbnails: npt.NDArray[np.uint8],
        similarities: npt.NDArray[np.float32],
        known: KnownPairs,
        images: Images | None,
        shared: Shared | None,
        size: npt.NDArray[np.float64],
        options: PairOptions,
    ) -> None:
        self._content, self._thumbnails, self._similarities, self._known, self._images = content, thumbnails, similarities, known, images
        self._shared, self._options = shared, options
        self._small = (size.max(axis=1) < LEAST_SIDE) | (images is None)
        self._widths = (255 * size[:, 0] / np.maximum(size.max(axis=1), 1)).astype(np.float32)
        self._near: list[_Near] = []
        self._unlike: list[Digests] = []

    def look(self, block: Candidates) -> None:
        """Screen the candidates of a block, and measure those of small images."""
        swap = self._content[block.first] > self._content[block.second]
        one, other = np.where(swap, block.second, block.first), np.where(swap, block.first, block.second)
        pairs = digests(self._content[one], self._content[other])
        at = self._known.find(pairs)
        small, open_ = self._small[one] | self._small[other], ~self._known.are_unlike(pairs)
        seen, fresh = np.flatnonzero(small & (at >= 0)), np.flatnonzero(small & (at < 0) & open_)
        close, starts = promising(self._thumbnails, one[fresh], other[fresh])
        fresh = fresh[close]
        parts = [(seen, self._known.evidence.take(at[seen])), (fresh, verify(self._thumbnails, one[fresh], other[fresh], starts[close]))]
        if self._images is not None and self._shared is not None:
            parts += self._screened(self._images.features, self._shared, np.flatnonzero(~small & open_), (one, other), at)
        which = np.concatenate([part for part, _ in parts])
        self._near.append(_Near(one[which], other[which], block.cosine[which], concatenated([part for _, part in parts])))
        self._unlike.append(np.delete(pairs, which))

    def _screened(
        self, features: npt.NDArray[np.uint8], shared: Shared, which: Rows, pairs: tuple[Rows, Rows], at: npt.NDArray[np.intp]
    ) -> list[tuple[Rows, Evidence]]:
        """Return those of the chosen pairs whose features agree, and their evidence: what is known, else only that they agree."""
        one, other = (side[which] for side in pairs)
        agree = votes(features, self._widths, shared.limits, one, other)
        worth = agree.count >= self._options.least_votes
        rank = (agree.distinctive / (1 + np.minimum(shared.usual[one], shared.usual[other]))).astype(np.float32)
        seen, fresh = worth & (at[which] >= 0), worth & (at[which] < 0)
        known = replace(self._known.evidence.take(at[which[seen]]), votes=rank[seen])
        return [(which[seen], known), (which[fresh], _unconfirmed(rank[fresh], agree.mirrored[fresh]))]

    def finish(self) -> _Found:
        """Compare the images of the pairs whose features agree most, and return all measured pairs."""
        near = _Near.joined(self._near)
        evidence, done = near.evidence, near.evidence.compared_at > 0
        lacking = evidence.compared_at == _LACKING
        by_votes = np.flatnonzero(evidence.votes > 0)
        by_votes = by_votes[np.lexsort((digests(self._content[near.one], self._content[near.other])[by_votes], -evidence.votes[by_votes]))]
        limit = int(self._options.most_compared * len(self._content)) + self._options.at_once
        compared, limited = 0, True
        unreadable = np.zeros(len(near.one), bool)
        done[by_votes] = False
        while compared < min(limit, len(by_votes)):
            batch = by_votes[compared : compared + self._options.at_once]
            fresh = batch[lacking[batch]]
            if self._images is not None and len(fresh):
                found, readable = self._images.confirm(near.one[fresh], near.other[fresh], evidence.mirrored[fresh])
                evidence = evidence.put(fresh, replace(found, votes=evidence.votes[fresh]))
                unreadable[fresh] = ~readable
            done[batch] = True
            compared += len(batch)
            scores = score(evidence.take(batch), np.zeros(len(batch), np.float32))
            if ((scores.copy >= _LIKELY) | (scores.same_thing >= LEAST_SAME_THING)).mean() < _LEAST_YIELD:
                limited = False
                break
        kept = np.flatnonzero(done & ~unreadable)
        near = _Near(near.one[kept], near.other[kept], near.cosine[kept], evidence.take(kept))
        scores = score(near.evidence, margin(near.cosine, near.one, near.other, self._similarities))
        aligned = (near.evidence.votes > 0) & (near.evidence.compared_at > 0)
        scores.copy[aligned] = with_own_share(scores.copy[aligned])
        pairs = digests(self._content[near.one], self._content[near.other])
        known = remember(pairs, near.evidence, np.concatenate(self._unlike) if self._unlike else np.zeros(0, np.uint64))
        first, second = np.minimum(near.one, near.other), np.maximum(near.one, near.other)
        left_out = len(by_votes) - compared
        return _Found(first, second, near.cosine, near.evidence, scores, known, compared, left_out, limited and left_out > 0, int(unreadable.sum()))


_LACKING = -1
"""``compared_at`` of pairs whose images are not compared yet."""


def _unconfirmed(count: npt.NDArray[np.float32], mirrored: Flags) -> Evidence:
    return replace(nothing(len(count)), votes=count, mirrored=mirrored, compared_at=np.full(len(count), _LACKING, np.int16))


@dataclass(frozen=True, slots=True)
class _Near:
    """Candidates that look alike, from the image with the smaller content id to the other."""

    one: Rows
    other: Rows
    cosine: npt.NDArray[np.float32]
    evidence: Evidence

    @staticmethod
    def joined(parts: list[_Near]) -> _Near:
        """Return the distinct pairs of all parts, by rows."""
        one, other = (np.concatenate([_NO_ROWS, *(getattr(part, side) for part in parts)]) for side in ("one", "other"))
        cosine = np.concatenate([_NO_COSINE, *(part.cosine for part in parts)])
        fresh = distinct(np.minimum(one, other), np.maximum(one, other), cosine)
        return _Near(one[fresh], other[fresh], cosine[fresh], concatenated([part.evidence for part in parts]).take(fresh))


_NO_ROWS, _NO_COSINE = np.zeros(0, np.int64), np.zeros(0, np.float32)


def _orientation_free(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    parts = (orientation_free_hashes(thumbnails[start : start + BLOCK]) for start in range(0, len(thumbnails), BLOCK))
    return np.concatenate([np.zeros(0, np.uint64), *parts])


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


def _describe(evidence: Evidence, swapped: Flags, first_size: npt.NDArray[np.float64], second_size: npt.NDArray[np.float64]) -> list[str]:
    """Return the evidence as JSON, with the transformation from the first row's image to the second's."""
    matrix = evidence.transform.astype(np.float64)
    matrix[swapped] = backwards(matrix[swapped], evidence.mirrored[swapped])
    covered = shares(matrix)
    evidence = replace(evidence, blur=np.where(swapped, -evidence.blur, evidence.blur))
    done = edits(evidence, matrix, covered, first_size, second_size)
    columns = [*(getattr(evidence, name) for name in _NUMBERS), covered[0].astype(np.float32)]
    numbers = np.stack(columns, axis=1).astype(np.float64).round(4).tolist()
    flat = matrix.reshape(-1, 6).round(4).tolist()
    return [
        json.dumps(
            dict(zip((*_NUMBERS, "overlap"), values, strict=True))
            | {"mirrored": mirrored, "transform": transform, "edits": changed, "compared_at": side, "inliers": round(float(np.expm1(inliers)))}
        )
        for values, mirrored, transform, changed, side, inliers in zip(
            numbers, evidence.mirrored.tolist(), flat, done, evidence.compared_at.tolist(), evidence.measures[:, -1].tolist(), strict=True
        )
    ]


def _table(first: Rows, second: Rows, relation: object, certainty: object, cosine: object, evidence: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"i": first, "j": second, "relation": relation, "score": certainty, "group": -1, "cosine": cosine, "hamming": 0, "evidence": evidence}
    )


def _hashes(samples: pd.DataFrame) -> npt.NDArray[np.uint64]:
    return np.asarray(samples["perceptual_hash"].astype("UInt64").fillna(0), dtype=np.uint64)

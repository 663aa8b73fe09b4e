"""Clusters of embeddings: which there are, which of their images are typical, and which sentences describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.io.blocks import some_of

if TYPE_CHECKING:
    import numpy.typing as npt

_LEARNED_FROM = 40
"""Images per cluster that its centre is learned from."""
_ROUNDS = 6
_ROWS_AT_ONCE = 8192
_TYPICAL = 5
_SENTENCES = 3


def clustered(
    embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], teaching: npt.NDArray[np.int64], clusters: int
) -> npt.NDArray[np.int64]:
    """Return ``[m]`` the cluster of each row (k-means of unit vectors, Lloyd 1982), learned from the teaching rows, or a part where they are many.

    The teaching rows come in the order of their digests, so those that lie evenly among them are drawn by lot.
    """
    import faiss

    step = max(len(teaching) // (_LEARNED_FROM * clusters), 1)
    learned = np.ascontiguousarray(embeddings[teaching[::step]], np.float32)
    means = faiss.Kmeans(learned.shape[1], clusters, niter=_ROUNDS, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(learned)
    parts = [
        means.index.search(np.ascontiguousarray(embeddings[rows[start : start + _ROWS_AT_ONCE]], np.float32), 1)[1][:, 0]
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.int64)


def typical_rows(embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], images: npt.NDArray[np.bytes_]) -> list[int]:
    """Return the few rows nearest to the middle of some, nearest first; of many, some are looked at."""
    some = some_of(rows, _ROWS_AT_ONCE, images)
    vectors = np.asarray(embeddings[some], np.float32)
    nearest: list[int] = some[np.argsort(-(vectors @ vectors.mean(0)), kind="stable")[:_TYPICAL]].tolist()
    return nearest


def described(
    embeddings: npt.NDArray[np.float16],
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    images: npt.NDArray[np.bytes_],
    texts: npt.NDArray[np.float32],
    sentences: list[str],
) -> list[str]:
    """Return the sentences that some images are more like than all are, the most telling first.

    Args:
        embeddings: ``[n, d]`` unit rows.
        rows: of the images in question, and of all images; of many, some are looked at.
        images: ``[n]`` digests of what each row shows.
        texts: ``[m, d]`` embeddings of the sentences.
        sentences: ``[m]``.
    """
    mine, others = (np.asarray(embeddings[some_of(some, _ROWS_AT_ONCE, images)], np.float32).mean(0) for some in rows)
    telling = texts @ (mine - others)
    return [sentences[at] for at in np.argsort(-telling, kind="stable")[:_SENTENCES]]

"""Cluster embeddings, choose typical images of a cluster, and choose sentences that describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.io.blocks import some_of

if TYPE_CHECKING:
    import numpy.typing as npt

_LEARNED_FROM = 40
"""Training images per cluster."""
_ROUNDS = 6
_ROWS_AT_ONCE = 8192
_TYPICAL = 5
_SENTENCES = 3


def clustered(
    embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], teaching: npt.NDArray[np.int64], clusters: int
) -> npt.NDArray[np.int64]:
    """Return ``[m]``: the cluster of each row (k-means of unit vectors, Lloyd 1982).

    The clusters are learned from ``teaching``, or a sample of it if there are many. These rows are in the order of their digests, so evenly spaced
    ones are a random sample.
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
    """Return the few rows nearest to the mean embedding, nearest first; many rows are sampled."""
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
    """Return the sentences that match some images better than all images, the largest difference first.

    Args:
        embeddings: ``[n, d]`` unit rows.
        rows: rows of the images in question, and of all images; many rows are sampled.
        images: ``[n]`` digests of the images.
        texts: ``[m, d]`` embeddings of the sentences.
        sentences: ``[m]``.
    """
    mine, others = (np.asarray(embeddings[some_of(some, _ROWS_AT_ONCE, images)], np.float32).mean(0) for some in rows)
    return [sentences[at] for at in np.argsort(-(texts @ (mine - others)), kind="stable")[:_SENTENCES]]

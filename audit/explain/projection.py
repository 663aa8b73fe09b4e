"""A map of the images: their embeddings in two dimensions, where similar images are close."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import AuditError

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.run.run import Run

FILE = "state/map.npz"
"""Stored in the run directory; it can be computed again at any time."""

MOST = 10_000
"""Images on a map. More take minutes, and no screen shows them apart."""

FEWEST = 5
"""A map of fewer images says nothing."""

_DIMENSIONS = 32
"""Principal components that t-SNE sees: the distances between near images hardly change, and it is four times as fast."""
_PERPLEXITY = 20.0
_ITERATIONS = 500
_SEED = 0


@dataclass(frozen=True, slots=True)
class Projection:
    """Images on a map."""

    rows: npt.NDArray[np.int64]
    """Rows of the run, ascending: all with an embedding, or a random sample of `MOST`."""
    positions: npt.NDArray[np.float32]
    """``[m, 2]``, both coordinates in 0..1."""


def stored(run: Run) -> Projection | None:
    """Return the map that is stored in the run; None if there is none, or if the images changed since."""
    with suppress(OSError, ValueError, KeyError), np.load(run.path / FILE, allow_pickle=False) as found:
        rows, positions = found["rows"], found["positions"]
        fits = str(found["key"]) == _key(run) and len(rows) and 0 <= rows[0] <= rows[-1] < len(run) and positions.shape == (len(rows), 2)
        return Projection(rows.astype(np.int64), positions.astype(np.float32)) if fits and np.isfinite(positions).all() else None
    return None


def project(run: Run) -> Projection:
    """Return the map of a run's images, and store it: the stored one, else a new one, which takes about half a minute for `MOST` images.

    Principal components, then Barnes-Hut t-SNE (van der Maaten 2014, Accelerating t-SNE using tree-based algorithms, JMLR 15). The same run gives the
    same map on one machine.

    Raises:
        AuditError: fewer than `FEWEST` images have an embedding.
    """
    known = stored(run)
    if known is not None:
        return known
    usable = np.flatnonzero(np.isfinite(np.asarray(run.embeddings[:, 0], np.float32)))
    if len(usable) < FEWEST:
        raise AuditError(run.path, f"only {len(usable)} images have an embedding", f"a map needs at least {FEWEST}")
    rows = usable if len(usable) <= MOST else np.sort(np.random.default_rng(_SEED).choice(usable, MOST, replace=False))
    found = Projection(rows.astype(np.int64), _positions(np.asarray(run.embeddings[rows], np.float32)))
    _store(run, found)
    return found


def _positions(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(_DIMENSIONS, *embeddings.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=_SEED).fit_transform(embeddings)
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    found = TSNE(init="pca", perplexity=perplexity, max_iter=_ITERATIONS, angle=0.7, random_state=_SEED, n_jobs=1).fit_transform(reduced)
    low, high = found.min(axis=0), found.max(axis=0)
    return np.asarray((found - low) / np.maximum(high - low, 1e-9), np.float32)


def _store(run: Run, found: Projection) -> None:
    with suppress(OSError), tempfile.TemporaryDirectory(dir=run.path) as folder:  # a run directory may be read-only
        path = Path(folder) / "map.npz"
        np.savez(path, key=np.array(_key(run)), rows=found.rows, positions=found.positions)
        (run.path / FILE).parent.mkdir(exist_ok=True)
        path.replace(run.path / FILE)


def _key(run: Run) -> str:
    """Return what a map depends on: the embeddings' checksum, else the time at which they were written."""
    known = run.record.get("files", {}).get("embeddings.npy", {})
    return f"1:{len(run)}:{known.get('crc32') or (run.tables / 'embeddings.npy').stat().st_mtime_ns}"

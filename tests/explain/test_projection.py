"""The map keeps similar images together, is stored, and is computed again when the images change."""

import numpy as np
import pytest

from audit import open_run
from audit.errors import AuditError
from audit.explain import projection
from audit.explain.projection import FILE, project, stored
from audit.io.artifacts import write_array


def clustered(run, n_of_each=2):
    """Embeddings of three far clusters."""
    random = np.random.default_rng(0)
    centers = np.repeat(np.eye(3, 4), n_of_each, axis=0)
    write_array(run.path / "embeddings.npy", (centers + 0.01 * random.normal(size=centers.shape)).astype(np.float16))
    return open_run(run.path)


def test_similar_images_are_close(small_run):
    run = clustered(small_run)
    found = project(run)
    assert found.rows.tolist() == list(range(6))
    assert found.positions.min() >= 0
    assert found.positions.max() <= 1
    assert stored(run) is not None
    np.testing.assert_array_equal(stored(run).positions, found.positions)


def test_a_large_run_is_a_sample(small_run, monkeypatch):
    monkeypatch.setattr(projection, "MOST", 5)
    found = project(clustered(small_run))
    assert len(found.rows) == 5
    assert (np.diff(found.rows) > 0).all()


def test_other_images_have_another_map(small_run):
    run = clustered(small_run)
    project(run)
    write_array(run.path / "embeddings.npy", np.full((6, 4), 0.25, np.float16))
    assert stored(open_run(run.path)) is None
    (run.path / FILE).write_bytes(b"damaged")
    assert stored(run) is None


def test_needs_embeddings(small_run):
    write_array(small_run.path / "embeddings.npy", np.full((6, 4), np.nan, np.float16))
    with pytest.raises(AuditError, match="have an embedding"):
        project(open_run(small_run.path))

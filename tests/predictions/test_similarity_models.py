"""Kernel ridge regression and the vote of neighbors: the same for one label per image and for several."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array

from audit.predictions.similarity_models import VOTERS, Voters, fit_ridge, one_hot


def rows_of(rows=300, width=8, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, width)).astype(np.float32), (np.arange(rows) % 3).astype(np.int64), (np.arange(rows) // 3 % 4).astype(np.int8)


@pytest.mark.parametrize("at_once", [7, 4096])
def test_ridge_solves_its_normal_equations(monkeypatch, at_once):
    monkeypatch.setattr("audit.predictions.similarity_models._ROWS_AT_ONCE", at_once)
    monkeypatch.setattr("audit.predictions.similarity_models.LANDMARKS", 20)
    from audit.predictions.similarity_models import KERNEL_PENALTY, kernel, unit_rows

    features, labels, fold = rows_of()
    found = fit_ridge(features, one_hot(labels, 3), fold, 4, 0)
    others = fold != 2
    design = kernel(unit_rows(features[others]), found.landmarks).astype(np.float64)
    gram = design.T @ design
    gram += np.eye(len(gram)) * KERNEL_PENALTY * np.trace(gram) / len(gram)
    np.testing.assert_allclose(found.weights[2], np.linalg.solve(gram, design.T @ np.eye(3)[labels[others]]), atol=2e-3)


def test_memory_does_not_grow_with_rows_times_classes(monkeypatch):
    """A row of 20,000 classes is 80 kB; one label is 12 bytes."""
    monkeypatch.setattr("audit.predictions.similarity_models.LANDMARKS", 4)
    features, _, fold = rows_of(2_000)
    labels = np.random.default_rng(0).integers(0, 20_000, 2_000)
    tracemalloc.start()
    fit_ridge(features, one_hot(labels, 20_000), fold, 4, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 4 * 200  # the 500 rows of a fold, dense, take more than twice that


def test_single_labels_equal_sets_of_one():
    features, labels, fold = rows_of()
    given = csr_array(np.eye(3, dtype=bool)[labels])
    votes = [Voters(features, some, fold)(features, fold) for some in (one_hot(labels, 3), given.astype(np.float32))]
    np.testing.assert_array_equal(*votes)
    np.testing.assert_allclose(votes[0].sum(1), 1, atol=1e-5)
    ridge = [fit_ridge(features, some, fold, 4, 0)(features, fold) for some in (one_hot(labels, 3), given.astype(np.float32))]
    np.testing.assert_array_equal(*ridge)


def test_rounding_does_not_choose_between_copies_with_different_sets():
    angles = np.append(np.linspace(0, 1, VOTERS - 1), [1.1, 1.1])
    given = csr_array(np.array([*[[1, 1, 0, 0]] * (VOTERS - 1), [1, 0, 1, 0], [1, 0, 0, 1]], np.float32))
    found = []
    for nearer in (-2, -1):
        turned = angles.copy()
        turned[nearer] -= 1e-6
        rows = np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)
        found.append(Voters(rows, given, np.zeros(len(rows), np.int8))(np.array([[1, 0]], np.float32), np.array([1], np.int8)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0][0, 0] == pytest.approx(1)

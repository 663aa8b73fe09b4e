from dataclasses import replace

import numpy as np
import pytest

from audit.predictions.probes import MEMBERS, NeighborVote, Training, fit_projection, kernel_ridge
from audit.predictions.similarity_models import VOTERS


def training(rows=240, width=6, folds=3, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    features = (np.eye(3, width)[labels] * 3 + draw.normal(0, 0.4, (rows, width))).astype(np.float32)
    return Training(features, labels, (np.arange(rows) // 3 % folds).astype(np.int8), folds, 3, seed)


@pytest.mark.parametrize("name", MEMBERS)
def test_member_predicts_the_right_class(name):
    known = training()
    member = MEMBERS[name][0](known)
    for fold in (known.fold, np.full(len(known.fold), -1, np.int8)):
        found = member(known.features, fold)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-4)
        assert (found.argmax(1) == known.labels).mean() > 0.95


@pytest.mark.parametrize("name", MEMBERS)
def test_fold_model_never_sees_its_own_labels(name):
    """If the labels of one fold are reversed, that fold's predictions still follow the other folds."""
    known = training()
    turned = np.where(known.fold == 0, (known.labels + 1) % 3, known.labels)
    member = MEMBERS[name][0](Training(known.features, turned, known.fold, known.folds, 3, 0))
    mine = known.fold == 0
    assert (member(known.features[mine], known.fold[mine]).argmax(1) == known.labels[mine]).mean() > 0.95


def test_kernel_temperature_is_fitted_on_all_alternating_classes(monkeypatch):
    known = training(rows=900)
    draw = np.random.default_rng(0)
    hard = (known.features + draw.normal(0, 2, known.features.shape) * (known.labels > 0)[:, None]).astype(np.float32)
    known = replace(known, features=hard)
    every = kernel_ridge(known).temperature
    monkeypatch.setattr("audit.predictions.probes._TEMPERATURE_ROWS", 300)
    assert abs(np.log(kernel_ridge(known).temperature / every)) < 0.2


def test_projection_centres_and_orders_by_variance():
    draw = np.random.default_rng(0)
    rows = (draw.normal(0, [3, 1, 0.1, 0], (500, 4)) ** 3 + 1).astype(np.float16)
    project = fit_projection(rows, 3)
    found = project(rows)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    variance = found.var(0)
    assert (np.diff(variance) <= 1e-6).all()
    assert variance.mean() == pytest.approx(1, rel=1e-2)


def test_projection_of_identical_rows_is_zero():
    project = fit_projection(np.ones((5, 4), np.float16), 3)
    np.testing.assert_allclose(project(np.ones((2, 4), np.float16)), 0, atol=1e-3)


def test_rounding_does_not_choose_between_copies_at_the_edge_of_a_vote():
    """The 50th and the 51st neighbor are copies with different labels; the last bit decides which is nearer."""
    angles = np.append(np.linspace(0, 1, VOTERS - 1), [1.1, 1.1])
    found = []
    for nearer in (-2, -1):
        turned = angles.copy()
        turned[nearer] -= 1e-6
        rows = np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)
        labels = np.append(np.zeros(VOTERS - 1, np.int64), [1, 2])
        vote = NeighborVote(rows, labels, np.zeros(len(rows), np.int8), np.full(3, 1 / 3, np.float32))
        found.append(vote(np.array([[1, 0]], np.float32), np.array([1], np.int8)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0].sum() == pytest.approx(1)

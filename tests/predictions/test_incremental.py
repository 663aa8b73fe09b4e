"""Incremental predictions: reused for unchanged images, and made for new ones by models that saw none of their copies."""

import numpy as np
import pytest

from audit.errors import RunError
from audit.io.progress import SILENT
from audit.pipeline.predictions import MADE_OF, PREDICTOR, fit_or_reuse
from audit.predictions.incremental import Fitted, count_changed, update
from audit.predictions.out_of_sample import out_of_sample
from audit.predictions.predictor import load_predictor


def blobs(rows, seed=0, classes=3, width=16):
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, rows).astype(np.int32)
    points = np.eye(classes, width)[true] * 2 + draw.normal(0, 0.35, (rows, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16), true


def names(rows, prefix="image"):
    return np.array([f"{prefix}{row}" for row in range(rows)], "S32")


@pytest.fixture(scope="module")
def fitted():
    embeddings, labels = blobs(400)
    found = out_of_sample(embeddings, labels, np.arange(400))
    return embeddings, labels, found


def test_stored_predictor_predicts_the_same(fitted, tmp_path):
    embeddings, _, found = fitted
    found.predictor.save(tmp_path / "p.npz")
    again = load_predictor(tmp_path / "p.npz")
    for fold in (found.fold, np.full(400, -1, np.int8)):
        np.testing.assert_array_equal(found.predictor(embeddings, fold), again(embeddings, fold))
    np.testing.assert_allclose(again(embeddings, found.fold), found.probabilities, atol=1e-6)


def test_corrupt_predictor_error_has_a_hint(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(RunError, match=r"p\.npz: corrupt: .*scan again"):
        load_predictor(tmp_path / "p.npz")


def test_unchanged_rows_keep_predictions_in_any_order(fitted):
    embeddings, labels, found = fitted
    order = np.random.default_rng(1).permutation(400)[:390]
    added, truth = blobs(10, seed=5)
    before = Fitted(found.probabilities, found.fold, labels, 400, 0)
    old_row = np.concatenate([order, np.full(10, -1)])
    after = np.concatenate([embeddings[order], added])
    updated = update(before, found.predictor, old_row, after, np.arange(400))
    np.testing.assert_array_equal(updated.probabilities[:390], found.probabilities[order])
    np.testing.assert_array_equal(updated.fold[:390], found.fold[order])
    assert (updated.probabilities[390:].argmax(1) == truth).mean() >= 0.9
    assert updated.predicted == 10
    assert count_changed(before, old_row, np.concatenate([labels[order], truth]), 400) == 10


def test_new_copy_is_predicted_by_model_that_never_saw_the_original(fitted):
    embeddings, labels, found = fitted
    before = Fitted(found.probabilities, found.fold, labels, 400, 0)
    originals = np.arange(0, 40)
    groups = np.concatenate([np.arange(400), originals])
    old_row = np.concatenate([np.arange(400), np.full(40, -1)])
    updated = update(before, found.predictor, old_row, np.concatenate([embeddings, embeddings[originals]]), groups)
    np.testing.assert_array_equal(updated.fold[400:], found.fold[originals])
    np.testing.assert_allclose(updated.probabilities[400:], found.probabilities[originals], atol=1e-6)


def test_new_image_with_copies_in_several_folds_is_not_judged(fitted):
    """The new image is a copy of two old ones in different folds."""
    embeddings, labels, found = fitted
    one = int(np.flatnonzero(found.fold == 0)[0])
    other = int(np.flatnonzero(found.fold == 1)[0])
    groups = np.append(np.arange(400), one)
    groups[other] = one
    before = Fitted(found.probabilities, found.fold, labels, 400, 0)
    updated = update(before, found.predictor, np.append(np.arange(400), -1), np.concatenate([embeddings, embeddings[[one]]]), groups)
    assert np.isnan(updated.probabilities[400]).all()
    assert (updated.fold[400], updated.predicted, updated.not_judged) == (-1, 0, 1)
    np.testing.assert_array_equal(updated.probabilities[:400], found.probabilities)


def test_new_images_without_copies_are_predicted_by_all_models(fitted):
    embeddings, labels, found = fitted
    added, _ = blobs(12, seed=5)
    before = Fitted(found.probabilities, found.fold, labels, 400, 0)
    old_row = np.append(np.arange(400), np.full(12, -1))
    first, again = (update(before, found.predictor, old_row, np.concatenate([embeddings, some]), np.arange(412)) for some in (added, added[::-1]))
    assert (first.fold[400:] == -1).all()
    np.testing.assert_allclose(first.probabilities[400:], again.probabilities[400:][::-1], atol=1e-6)


def test_unreadable_image_has_no_prediction_and_is_not_a_change(fitted):
    embeddings, labels, found = fitted
    before = Fitted(found.probabilities, found.fold, labels, 400, 0)
    after = np.concatenate([embeddings, np.full((1, 16), np.nan, np.float16)])
    old_row = np.concatenate([np.arange(400), [-1]])
    updated = update(before, found.predictor, old_row, after, np.arange(401))
    assert np.isnan(updated.probabilities[400]).all()
    assert count_changed(before, old_row, np.append(labels, 0), 400) == 0


def scanned(run, embeddings, labels, images, before, plan="plan"):
    return fit_or_reuse(run, embeddings, images, labels, np.arange(len(labels)), plan=plan, before=before, seed=0, observer=SILENT)


def test_changes_accumulate_until_a_refit(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.pipeline.predictions.FROM_ROWS", 100)
    embeddings, labels = blobs(400)
    images = names(400)
    facts = scanned(tmp_path, embeddings, labels, images, {})
    assert facts["predicted_anew"] == 400
    for step in (1, 2):
        labels = labels.copy()
        labels[step] = (labels[step] + 1) % 3  # another label for the same image
        images = images.copy()
        images[100 + step] = f"new{step}"  # one image removed, one added
        kept = np.load(tmp_path / "predictions.npy")
        facts = scanned(tmp_path, embeddings, labels, images, facts)
        assert (facts["changed_since_fit"], facts["predicted_anew"]) == (2 * step, 1)
        np.testing.assert_array_equal(np.delete(np.load(tmp_path / "predictions.npy"), 100 + step, 0), np.delete(kept, 100 + step, 0))
    labels = (labels + (np.arange(400) < 20)) % 3
    facts = scanned(tmp_path, embeddings, labels.astype(np.int32), images, facts)
    assert (facts["changed_since_fit"], facts["predicted_anew"]) == (0, 400)


@pytest.mark.parametrize("lost", [MADE_OF, PREDICTOR, "plan"])
def test_refits_with_another_plan_or_missing_files(tmp_path, monkeypatch, lost):
    monkeypatch.setattr("audit.pipeline.predictions.FROM_ROWS", 100)
    embeddings, labels = blobs(400)
    facts = scanned(tmp_path, embeddings, labels, names(400), {})
    if lost != "plan":
        (tmp_path / lost).unlink()
    facts = scanned(tmp_path, embeddings, labels, names(400), facts, plan="other" if lost == "plan" else "plan")
    assert facts["predicted_anew"] == 400

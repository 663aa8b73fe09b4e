import numpy as np
import pytest

from audit.errors import AuditError
from audit.predictions.out_of_sample import out_of_sample


def blobs(rows=600, classes=3, width=16, noise=0.0, seed=0):
    """Return unit embeddings around one direction per class, true codes, and given codes, a share of them wrong."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, rows).astype(np.int32)
    points = np.eye(classes, width)[true] * 2 + draw.normal(0, 0.35, (rows, width))
    given = true.copy()
    wrong = draw.random(rows) < noise
    given[wrong] = (true[wrong] + 1 + draw.integers(0, classes - 1, wrong.sum())) % classes
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16), true, given.astype(np.int32)


def test_predicts_true_class_despite_wrong_labels():
    embeddings, true, given = blobs(noise=0.2)
    found = out_of_sample(embeddings, given, np.arange(len(given)))
    assert (found.probabilities.argmax(1) == true).mean() > 0.95
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)


def test_failed_rows_have_no_prediction_but_unlabelled_ones_do():
    embeddings, true, given = blobs()
    embeddings[3] = np.nan
    given[7] = -1
    found = out_of_sample(embeddings, given, np.arange(len(given))).probabilities
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, 0)).all()
    assert found[7].argmax() == true[7]


def test_one_class_is_an_error():
    embeddings, _, given = blobs()
    with pytest.raises(AuditError, match="at least two classes"):
        out_of_sample(embeddings, np.zeros_like(given), np.arange(len(given)))


def test_class_with_one_image_is_not_judged():
    embeddings, _, given = blobs()
    given[5] = 3
    found = out_of_sample(embeddings, given, np.arange(len(given))).probabilities
    assert np.isnan(found[5]).all()
    assert found.shape[1] == 4


def test_same_seed_gives_same_bytes():
    embeddings, _, given = blobs(noise=0.1)
    first, second = (out_of_sample(embeddings, given, np.arange(len(given)), seed=3).probabilities for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_predictions_do_not_depend_on_row_or_class_order(seed):
    embeddings, _, given = blobs(noise=0.1, classes=5)
    draw = np.random.default_rng(seed)
    images = np.array([f"{number:032x}" for number in draw.permutation(len(given))], "S32")
    images[10:20], embeddings[10:20] = images[:10], embeddings[:10]  # identical copies, some with another label
    given[30:40] = -1
    groups = np.unique(images, return_inverse=True)[1]
    first = out_of_sample(embeddings, given, groups, images=images)
    rows, names = draw.permutation(len(given)), draw.permutation(5).astype(np.int32)
    again = out_of_sample(embeddings[rows], np.append(names, -1)[given[rows]].astype(np.int32), len(rows) - groups[rows], images=images[rows])
    np.testing.assert_allclose(again.probabilities[:, names], first.probabilities[rows], atol=2e-6)
    copies = np.isin(images, images[:10])[rows]  # copies under one label are interchangeable
    np.testing.assert_array_equal(again.fold[~copies], first.fold[rows][~copies])


def test_copy_does_not_confirm_a_wrong_label():
    embeddings, true, given = blobs(noise=0.0)
    embeddings[:8] = embeddings[0]
    given[:8] = (true[0] + 1) % 3
    apart = out_of_sample(embeddings, given, np.arange(len(given))).probabilities[0, given[0]]
    groups = np.arange(len(given))
    groups[:8] = 0
    together = out_of_sample(embeddings, given, groups).probabilities[0, given[0]]
    assert together < apart / 2


def test_unlabelled_copy_is_predicted_without_its_labelled_copy():
    embeddings, true, given = blobs(rows=120)
    given[:6] = (true[0] + 1) % 3
    embeddings[:7] = embeddings[0]
    given[6] = -1
    groups = np.arange(len(given))
    groups[:7] = 0
    found = out_of_sample(embeddings, given, groups).probabilities
    np.testing.assert_allclose(found[6], found[0], atol=1e-5)
    assert found[6].argmax() == true[0]


def test_predicts_more_rows_than_it_trains_on(monkeypatch):
    monkeypatch.setattr("audit.predictions.out_of_sample.MAX_TRAINING_ROWS", 150)
    embeddings, true, given = blobs(rows=600)
    found = out_of_sample(embeddings, given, np.arange(len(given)))
    assert found.record["trained_on"] <= 150
    assert (found.probabilities.argmax(1) == true).mean() > 0.9


def test_temperature_is_fitted_on_all_alternating_classes(monkeypatch):
    draw = np.random.default_rng(0)
    true = np.arange(900) % 3
    spread = np.where(true == 0, 0.05, 0.9)  # images of the first class are easy
    points = np.eye(3, 16)[true] * 2 + draw.normal(0, 1, (900, 16)) * spread[:, None]
    embeddings, labels = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16), true.astype(np.int32)
    every = out_of_sample(embeddings, labels, np.arange(900)).record["temperature"]
    monkeypatch.setattr("audit.predictions.out_of_sample._CALIBRATION_ROWS", 300)
    some = out_of_sample(embeddings, labels, np.arange(900)).record["temperature"]
    assert abs(np.log(some / every)) < 0.3


def test_copies_of_one_image_are_an_error():
    embeddings, _, given = blobs(rows=20)
    with pytest.raises(AuditError, match="copies of one another"):
        out_of_sample(embeddings, given, np.zeros(20, np.int64))


def test_many_classes_of_two_images():
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(300, 32))
    points = np.repeat(centres, 2, 0) + draw.normal(0, 0.05, (600, 32))
    embeddings = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    found = out_of_sample(embeddings, np.repeat(np.arange(300), 2).astype(np.int32), np.arange(600)).probabilities
    assert np.isfinite(found).all()
    assert (found.argmax(1) == np.repeat(np.arange(300), 2)).mean() > 0.8


def test_networks_are_fitted_on_the_requested_device():
    embeddings, _, given = blobs(60)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):  # the meta device holds no values, so only its use can fail like this
        out_of_sample(embeddings, given, np.arange(len(given)), device="meta")

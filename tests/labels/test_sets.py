import numpy as np
import pandas as pd
import pytest

from audit.checks.label_errors import Options, run
from audit.errors import AuditError
from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.labels.sets import corrected, judge_label_sets, membership, set_codes, sets_of_labels
from audit.predictions.multilabel import out_of_sample_sets
from audit.tables import LABEL_QUALITY, PAIRS

CLASSES = ["bird", "cat", "dog"]


def labelled_images(rows=400, seed=0):
    """Return embeddings that add one direction per class shown, and the classes each image shows."""
    draw = np.random.default_rng(seed)
    shown = draw.random((rows, 3)) < 0.4
    shown[~shown.any(1), 0] = True
    points = shown @ np.eye(3, 16) * 2 + draw.normal(0, 0.3, (rows, 16))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16), shown


def names_of(shown):
    return [tuple(name for name, there in zip(CLASSES, row, strict=True) if there) for row in shown]


def frame(labels):
    several = [list(names) if names else None for names in labels]
    return pd.DataFrame({"sample_id": [f"{at:04}.jpg" for at in range(len(labels))], "label": None, "labels": several})


def pair(i, j):
    return pd.DataFrame([{"i": i, "j": j, "relation": "identical_bytes", "score": 1.0, "group": i, "evidence": "{}"}], columns=PAIRS.names)


def test_label_sets_are_sorted_and_unique():
    samples = pd.DataFrame({"label": ["cat", None, None, None], "labels": [None, ["dog", "cat", "dog"], np.array(["bird"], object), None]})
    assert sets_of_labels(samples) == [("cat",), ("cat", "dog"), ("bird",), ()]


def test_membership_ignores_labels_without_a_column():
    found = membership([("cat", "unicorn"), (), ("bird", "dog")], CLASSES)
    assert found.toarray().tolist() == [[False, True, False], [False, False, False], [True, False, True]]


def test_predicts_true_classes_despite_wrong_labels():
    embeddings, shown = labelled_images()
    given = shown.copy()
    given[:20, 2] = ~given[:20, 2]
    embeddings[30] = np.nan
    given[31] = False
    found = out_of_sample_sets(embeddings, membership(names_of(given), CLASSES), np.arange(400)).probabilities
    assert np.isnan(found[30]).all()
    known = np.delete(np.arange(400), 30)
    assert ((found[known] > 0.5) == shown[known]).mean() > 0.95
    assert ((found[:20, 2] > 0.5) == shown[:20, 2]).mean() > 0.9


def test_copy_does_not_confirm_wrong_labels():
    embeddings, shown = labelled_images()
    embeddings[:10] = embeddings[0]
    shown[:10] = ~shown[0]
    apart = out_of_sample_sets(embeddings, membership(names_of(shown), CLASSES), np.arange(400)).probabilities[0]
    groups = np.arange(400)
    groups[:10] = 0
    together = out_of_sample_sets(embeddings, membership(names_of(shown), CLASSES), groups).probabilities[0]
    assert (np.abs(together - shown[0]) > np.abs(apart - shown[0])).all()


def test_unlabelled_copy_is_predicted_by_models_that_saw_no_copy():
    """Labels are random, so a copy's labels can only be predicted from the copy itself."""
    draw = np.random.default_rng(0)
    points = draw.normal(size=(300, 32))
    embeddings = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    shown = draw.random((300, 3)) < 0.5
    labels = [*names_of(shown), *[()] * 100]
    groups = np.concatenate([np.arange(300), np.arange(100)])
    found = out_of_sample_sets(np.concatenate([embeddings, embeddings[:100]]), membership(labels, CLASSES), groups)
    np.testing.assert_allclose(found.probabilities[300:], found.probabilities[:100], atol=1e-5)
    np.testing.assert_array_equal(found.fold[300:][shown[:100].any(1)], found.fold[:100][shown[:100].any(1)])


@pytest.mark.parametrize("seed", range(3))
def test_predictions_do_not_depend_on_row_order(seed):
    embeddings, shown = labelled_images()
    draw = np.random.default_rng(seed)
    images = np.array([f"{number:032x}" for number in draw.permutation(400)], "S32")
    images[10:20], embeddings[10:20] = images[:10], embeddings[:10]  # byte copies, some of which have other labels
    shown[30:40] = False
    labels, groups = names_of(shown), np.unique(images, return_inverse=True)[1]
    first = out_of_sample_sets(embeddings, membership(labels, CLASSES), groups, images=images).probabilities
    rows = draw.permutation(400)
    moved = membership([labels[row] for row in rows], CLASSES)
    again = out_of_sample_sets(embeddings[rows], moved, 400 - groups[rows], images=images[rows]).probabilities
    np.testing.assert_allclose(again, first[rows], atol=1e-4)


def test_copies_of_one_image_alone_are_an_error():
    embeddings, shown = labelled_images(6)
    with pytest.raises(AuditError, match="copies of one another"):
        out_of_sample_sets(embeddings, membership(names_of(shown), CLASSES), np.zeros(6, np.int64))


def test_score_equals_cleanlab_and_worst_class_is_returned():
    predictions = np.array([[0.9, 0.8, 0.1], [0.9, 0.1, 0.2], [0.1, 0.2, 0.3]], np.float32)
    found = judge_label_sets(predictions, membership([("bird", "cat"), ("bird", "cat"), ()], CLASSES))
    assert found.columns.tolist() == LABEL_QUALITY.names
    assert found["alternative"].tolist() == [1, 1, -1]
    np.testing.assert_allclose(found["probability_wrong"], [0.2, 0.9, np.nan], atol=1e-6)
    np.testing.assert_allclose(found["score"][0], 1 - (0.8 * 0.8 + 0.2 * (0.8 * 0.9 + 0.2 * 0.9)), atol=1e-6)
    assert found["score"][1] > found["score"][0]
    assert np.isnan(found["score"][2])
    assert found["predicted"].tolist() == [0, 0, 2]


def test_differing_copies_are_evidence():
    predictions = np.array([[0.9, 0.55, 0.1], [0.9, 0.55, 0.1]], np.float32)
    labels = [("bird",), ("bird", "cat")]
    copies = disagreeing_duplicate_sets(pair(0, 1), set_codes(labels))
    alone, found = (judge_label_sets(predictions, membership(labels, CLASSES), some) for some in ((), copies))
    assert found["alternative"].tolist() == [1, 1]
    assert (found["score"] >= alone["score"]).all()
    assert found["score"][0] > alone["score"][0]


def test_equal_label_sets_share_a_code():
    samples = pd.DataFrame({"label": None, "labels": [["cat", "bird"], ["dog"], ["bird", "cat"], None]})
    assert set_codes(sets_of_labels(samples)).tolist() == [0, 1, 0, -1]


@pytest.mark.parametrize("odd", range(5))
def test_of_five_copies_the_outvoted_one_is_wrong_in_any_row(pairs_of_sets, odd):
    _, shown = labelled_images(200)
    predictions = np.where(shown, 0.9, 0.1).astype(np.float32)
    labels = [("bird", "cat")] * 5 + names_of(shown)[5:]
    labels[odd] = ("bird", "dog")
    predictions[:5] = [0.95, 0.35, 0.6]  # the models agree with the odd one
    predictions[(odd + 1) % 5] = np.nan
    found = judge_label_sets(
        predictions,
        membership(labels, CLASSES),
        disagreeing_duplicate_sets(pairs_of_sets([0] * 5 + list(range(5, 200))), set_codes(labels)),
    )
    assert np.flatnonzero(found["probability_wrong"][:5] > 0.5).tolist() == [odd]
    assert found["score"][odd] > 0.5 > np.delete(found["score"][:5].to_numpy(), odd).max()
    assert CLASSES[found["alternative"][odd]] in ("cat", "dog")


def test_copies_with_several_labels_are_weighted_by_certainty():
    _, shown = labelled_images(200)
    predictions = np.where(shown, 0.9, 0.1).astype(np.float32)
    labels = [("bird",), ("bird", "cat"), ("bird", "cat"), *names_of(shown)[3:]]
    predictions[:3] = [0.9, 0.3, 0.1]
    found = {}
    for score in (0.6, 1.0):
        links = pd.concat([pair(0, 1), pair(1, 2)]).assign(score=score)
        found[score] = judge_label_sets(predictions, membership(labels, CLASSES), disagreeing_duplicate_sets(links, set_codes(labels)))
    alone = judge_label_sets(predictions, membership(labels, CLASSES))
    assert alone["probability_wrong"][0] < found[0.6]["probability_wrong"][0] < found[1.0]["probability_wrong"][0]
    assert found[1.0]["probability_wrong"][0] > 0.5
    assert found[1.0]["alternative"][0] == CLASSES.index("cat")


@pytest.mark.parametrize(
    ("prediction", "verdict", "fitting", "missing"),
    [
        ([0.9, 0.8, 0.9], "also_valid", [0, 1, 2], [2]),
        ([0.9, 0.1, 0.9], "wrong", [0, 2], [2]),
        ([0.9, 0.1, 0.1], "wrong", [0], []),
        ([0.1, 0.1, 0.1], "unclear", [], []),
    ],
)
def test_verdicts(prediction, verdict, fitting, missing):
    found = corrected(np.array(prediction), np.array([True, True, False]), 0.5)
    assert (found[0], found[1].tolist(), found[2].tolist()) == (verdict, fitting, missing)


def test_check_names_missing_and_wrong_labels():
    _, shown = labelled_images(200)
    predictions = np.where(shown, 0.95, 0.05).astype(np.float32)
    labels = names_of(shown)
    labels[0], predictions[0] = ("bird", "cat"), [0.9, 0.02, 0.97]
    labels[1], predictions[1] = ("bird",), [0.95, 0.9, 0.02]
    quality = judge_label_sets(predictions, membership(labels, CLASSES))
    found = {finding.row: finding for finding in run(frame(labels), predictions, quality, CLASSES, options=Options()).findings}
    assert sorted(found) == [0, 1]
    assert (found[0].kind, found[0].suggested_label, found[0].evidence["label_set"]) == ("wrong", "dog", ["bird", "dog"])
    assert found[0].message == "Labelled 'bird' and 'cat', but 'cat' does not fit and 'dog' does. Correct the labels."
    assert (found[1].kind, found[1].suggested_label, found[1].evidence["label_set"]) == ("also_valid", "cat", ["bird", "cat"])

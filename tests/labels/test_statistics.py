import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from audit.labels.statistics import (
    confident_joint,
    confusion_matrix,
    label_health,
    overlap_groups,
    pairs_of_classes,
    quality_of_classes,
    shares_of,
    taken_for,
    wilson,
)


def test_confusion_matrix_counts_given_and_predicted():
    found = confusion_matrix(np.array([0, 0, -1, 2, 1]), np.array([0, 1, 1, -1, 3]), 4)
    assert found.sum() == 3
    assert (found[0, 0], found[0, 1], found[1, 3]) == (1, 1, 1)


def test_group_needs_overlap_of_every_pair():
    share = np.eye(4)
    for one, two in ((0, 1), (1, 2)):
        share[one, two] = share[two, one] = 0.2
    assert overlap_groups(csr_array(share), 0.05) == [[0, 1]]
    share[0, 2] = share[2, 0] = 0.2
    assert overlap_groups(csr_array(share), 0.05) == [[0, 1, 2]]


def test_wilson_interval():
    low, high = wilson(np.array([0.0, 5.0, 0.0]), np.array([10.0, 10.0, 0.0]))
    np.testing.assert_allclose(low, [0, 0.2366, 0], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_confident_joint_keeps_label_counts_with_empty_classes():
    given = np.array([0] * 8 + [2] * 6)
    joint = confident_joint(np.eye(4, dtype=np.float32)[given] * 0.86 + np.float32(0.035), given)
    np.testing.assert_allclose(joint.sum(1), [8, 0, 6, 0])


@pytest.mark.parametrize("seed", range(5))
def test_confident_joint_and_health_equal_cleanlab(monkeypatch, seed):
    from cleanlab.count import compute_confident_joint
    from cleanlab.dataset import overall_label_health_score

    monkeypatch.setattr("audit.io.blocks.CELLS_AT_ONCE", 100)
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 6, 400)
    predictions = draw.dirichlet(np.full(6, 0.4), 400).astype(np.float32)
    predictions[np.arange(400), true] += 1
    predictions /= predictions.sum(1, keepdims=True)
    given = np.where(draw.random(400) < 0.2, draw.integers(0, 6, 400), true)
    theirs = compute_confident_joint(given, predictions, calibrate=False)
    scaled = theirs * (np.bincount(given, minlength=6) / theirs.sum(1))[:, None]
    predictions = np.concatenate([predictions, np.full((3, 6), np.nan, np.float32), predictions[:3]])
    joint = confident_joint(predictions, np.concatenate([given, [0, 1, 2], [-1, -1, -1]]))
    np.testing.assert_allclose(joint.toarray(), scaled)
    assert label_health(joint) == pytest.approx(overall_label_health_score(num_examples=400, joint=scaled / 400, verbose=False))


def test_counts_labels_of_alternating_classes():
    given = np.arange(3_000) % 30
    predicted = np.where((given == 3) & (np.arange(3_000) % 7 == 0), 5, given)
    predictions = np.full((3_000, 30), 0.005, np.float32)
    predictions[np.arange(3_000), predicted] = 0.855
    joint = confident_joint(predictions, given)
    np.testing.assert_allclose(joint.sum(1), 100)
    assert joint[3, 5] > 10


def test_many_classes_need_no_dense_matrix():
    """A dense matrix of 20,000 classes takes 3.2 GB."""
    draw = np.random.default_rng(0)
    given = draw.integers(0, 20_000, 50_000)
    predicted = np.where(draw.random(50_000) < 0.7, given, given ^ 1)
    tracemalloc.start()
    counts = confusion_matrix(given, predicted, 20_000)
    assert taken_for(given, predicted, np.zeros(len(given)), 20_000).nnz > 0
    assert len(pairs_of_classes(counts, [str(code) for code in range(20_000)])) > 0
    overlap_groups(shares_of(counts), 0.2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_wrong_labels_do_not_make_classes_overlap():
    given = np.repeat([0, 1, 2], 10)
    predicted = given.copy()
    predicted[:4] = 1
    predicted[20:25] = 1
    wrong = np.zeros(30)
    wrong[20:25] = 0.8
    wrong[29] = np.nan
    found = taken_for(given, predicted, wrong, 3)
    np.testing.assert_allclose(found.toarray(), [[0, 0.4, 0], [0, 0, 0], [0, 0.1, 0]])


def test_pairs_are_directed_and_sorted_by_share():
    counts = csr_array([[6, 4, 0], [1, 9, 0], [0, 0, 0]])
    found = pairs_of_classes(counts, ["a", "b", "c"])
    assert found[["label", "predicted", "images", "confused"]].to_numpy().tolist() == [["a", "b", 10, 4], ["b", "a", 10, 1]]
    assert found["share_back"].tolist() == [0.1, 0.4]
    assert (found["low"] < found["share"]).all()
    assert (found["share"] < found["high"]).all()
    assert pairs_of_classes(counts, ["a", "b", "c"], min_images=11).empty


def test_class_quality_is_the_mean_of_judged_images():
    wrong = np.array([0.5, 0.1, np.nan, 0.9])
    quality = pd.DataFrame({"given": [0, 0, 0, -1], "probability_wrong": wrong, "probability_low": wrong / 2, "probability_high": np.sqrt(wrong)})
    found = quality_of_classes(quality, ["a", "b"])
    assert found["least_error_rate"][0] == 0.15
    assert found["low"][0] < 0.15 < 0.3 < np.sqrt(0.1) < found["high"][0]
    found = quality_of_classes(quality[["given", "probability_wrong"]], ["a", "b"])  # a run of an older version
    assert found["least_error_rate"][0] == 0.3
    assert found["n"].tolist() == [2, 0]
    assert found["estimated_error_rate"].tolist()[0] == 0.3
    assert np.isnan(found["estimated_error_rate"][1])
    assert found.loc[1, ["low", "high"]].tolist() == [0, 1]

import numpy as np

from audit.labels.class_statistics import (
    confident_joint,
    confusion_matrix,
    overlap_groups,
    overlapping,
    pairs_of_classes,
    quality_of_classes,
    wilson,
)


def test_counts_given_against_predicted():
    found = confusion_matrix(np.array([0, 0, -1, 2, 1]), np.array([0, 1, 1, -1, 3]), 4)
    assert found.sum() == 3
    assert (found[0, 0], found[0, 1], found[1, 3]) == (1, 1, 1)


def test_three_classes_form_a_group_only_where_every_two_overlap():
    share = np.eye(4)
    for one, two in ((0, 1), (1, 2)):
        share[one, two] = share[two, one] = 0.2
    assert overlap_groups(share, 0.05) == [[0, 1]]
    share[0, 2] = share[2, 0] = 0.2
    assert overlap_groups(share, 0.05) == [[0, 1, 2]]


def test_wilson_interval():
    low, high = wilson(np.array([0.0, 5.0, 0.0]), np.array([10.0, 10.0, 0.0]))
    np.testing.assert_allclose(low, [0, 0.2366, 0], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_confident_joint_keeps_the_images_of_each_label_also_with_empty_classes():
    given = np.array([0] * 8 + [2] * 6)
    joint = confident_joint(np.eye(4, dtype=np.float32)[given] * 0.86 + np.float32(0.035), given)
    np.testing.assert_allclose(joint.sum(1), [8, 0, 6, 0])


def test_classes_that_are_mistaken_both_ways_overlap():
    given = np.repeat([0, 1, 2], 10)
    predicted = given.copy()
    predicted[:4] = 1
    predicted[10:14] = 0
    predicted[20:29] = 1
    found = overlapping(confusion_matrix(given, predicted, 3), 0.25)
    assert found.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_pairs_are_directed_and_the_largest_share_comes_first():
    counts = np.array([[6, 4, 0], [1, 9, 0], [0, 0, 0]])
    found = pairs_of_classes(counts, ["a", "b", "c"])
    assert found[["label", "predicted", "images", "confused"]].to_numpy().tolist() == [["a", "b", 10, 4], ["b", "a", 10, 1]]
    assert found["share_back"].tolist() == [0.1, 0.4]
    assert (found["low"] < found["share"]).all()
    assert (found["share"] < found["high"]).all()
    assert pairs_of_classes(counts, ["a", "b", "c"], min_images=11).empty


def test_quality_of_a_class_is_the_mean_over_its_judged_images():
    found = quality_of_classes(np.array([0.5, 0.1, np.nan, 0.9]), np.array([0, 0, 0, -1]), ["a", "b"])
    assert found["n"].tolist() == [2, 0]
    assert found["estimated_error_rate"].tolist()[0] == 0.3
    assert np.isnan(found["estimated_error_rate"][1])
    assert found.loc[1, ["low", "high"]].tolist() == [0, 1]

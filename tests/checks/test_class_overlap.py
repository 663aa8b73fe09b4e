import numpy as np
import pandas as pd
import pytest

from audit.checks.class_overlap import Options, confident_joint, confusion_matrix, overlap_groups, run, wilson
from audit.errors import ConfigError

CLASSES = ["a", "b", "c", "d"]


def predicted(codes, sure=0.9, classes=4):
    predictions = np.full((len(codes), classes), (1 - sure) / (classes - 1), np.float32)
    predictions[np.arange(len(codes)), codes] = sure
    return predictions


def frame(given):
    return pd.DataFrame({"sample_id": [str(at) for at in range(len(given))], "label": [None if code < 0 else CLASSES[code] for code in given]})


def test_counts_given_against_predicted():
    predictions = predicted([0, 1, 1, 2])
    predictions[3] = np.nan
    found = confusion_matrix(predictions, np.array([0, 0, -1, 2]))
    assert found.sum() == 2
    assert (found[0, 0], found[0, 1]) == (1, 1)


def test_a_pair_is_directed():
    given = np.repeat([0, 1, 2, 3], 50)
    codes = given.copy()
    codes[:20] = 1
    found = run(frame(given), predicted(codes), CLASSES, {"a": "words of a"}, options=Options())
    pairs = [finding for finding in found.findings if finding.kind == "confused_pair"]
    assert [(finding.label, finding.suggested_label) for finding in pairs] == [("a", "b")]
    evidence = pairs[0].evidence
    assert (evidence["confused"], evidence["images"], evidence["share_back"]) == (20, 50, 0)
    assert evidence["share_interval"][0] < 0.4 < evidence["share_interval"][1]
    assert "words of a" in pairs[0].message
    poor = [finding for finding in found.findings if finding.kind == "poor_labels"]
    assert [finding.label for finding in poor] == ["a"]
    assert np.isnan(found.scores).all()


def test_three_classes_form_a_group_only_where_every_two_overlap():
    share = np.eye(4)
    for one, two in ((0, 1), (1, 2)):
        share[one, two] = share[two, one] = 0.2
    assert overlap_groups(share, 0.05) == [[0, 1]]
    share[0, 2] = share[2, 0] = 0.2
    assert overlap_groups(share, 0.05) == [[0, 1, 2]]


def test_the_group_is_reported():
    given = np.repeat([0, 1, 2, 3], 60)
    codes = np.where(given < 3, np.tile([0, 1, 2], 80), 3)
    found = run(frame(given), predicted(codes), CLASSES, options=Options())
    groups = [finding.evidence["classes"] for finding in found.findings if finding.kind == "overlap_group"]
    assert groups == [["a", "b", "c"]]


def test_wilson_interval():
    low, high = wilson(np.array([0.0, 5.0, 0.0]), np.array([10.0, 10.0, 0.0]))
    np.testing.assert_allclose(low, [0, 0.2366, 0], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_confident_joint_keeps_the_images_of_each_label_also_with_empty_classes():
    given = np.array([0] * 8 + [2] * 6)
    joint = confident_joint(predicted(given), given)
    np.testing.assert_allclose(joint.sum(1), [8, 0, 6, 0])


def test_small_classes_are_left_alone():
    given = np.array([0] * 5 + [1] * 50)
    codes = np.ones(55, int)
    assert not run(frame(given), predicted(codes), CLASSES, options=Options()).findings


def test_options_outside_their_range():
    with pytest.raises(ConfigError, match="min_share: 0 is not above 0"):
        Options(min_share=0)

import numpy as np
import pandas as pd
import pytest

from audit.checks.class_overlap import Options, run
from audit.errors import ConfigError
from audit.labels.quality import judge_labels

CLASSES = ["a", "b", "c", "d"]
SPREAD = 1 - np.tile(np.geomspace(1e-4, 0.05, 10), 40)
"""Confidences of 400 images: errors are only recognised among images of which the models are surer than of others."""


def predicted(codes, sure=0.9, classes=4):
    sure = np.broadcast_to(sure, len(codes))
    predictions = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1).astype(np.float32)
    predictions[np.arange(len(codes)), codes] = sure
    return predictions


def overlap(given, codes, words=None, sure=0.9):
    predictions = predicted(codes, sure)
    return run(frame(given), predictions, judge_labels(predictions, given), CLASSES, words, options=Options())


def frame(given):
    return pd.DataFrame(
        {"sample_id": [str(at) for at in range(len(given))], "label": [None if code < 0 else CLASSES[code] for code in given], "labels": None}
    )


def test_a_pair_is_directed():
    given = np.repeat([0, 1, 2, 3], 100)
    codes = given.copy()
    codes[:40] = 1
    found = overlap(given, codes, {"a": "words of a"}, sure=SPREAD)
    pairs = [finding for finding in found.findings if finding.kind == "confused_pair"]
    assert [(finding.label, finding.suggested_label) for finding in pairs] == [("a", "b")]
    evidence = pairs[0].evidence
    assert (evidence["confused"], evidence["images"], evidence["share_back"]) == (40, 100, 0)
    assert evidence["share_interval"][0] < 0.4 < evidence["share_interval"][1]
    assert "words of a" in pairs[0].message
    poor = [finding for finding in found.findings if finding.kind == "poor_labels"]
    assert [finding.label for finding in poor] == ["a"]
    assert np.isnan(found.scores).all()


def test_reports_group():
    given = np.repeat([0, 1, 2, 3], 60)
    codes = np.where(given < 3, np.tile([0, 1, 2], 80), 3)
    found = overlap(given, codes)
    groups = [finding.evidence["classes"] for finding in found.findings if finding.kind == "overlap_group"]
    assert groups == [["a", "b", "c"]]


def test_ignores_small_classes():
    given = np.array([0] * 5 + [1] * 50)
    codes = np.ones(55, int)
    assert not overlap(given, codes).findings


def test_refuses_options_out_of_range():
    with pytest.raises(ConfigError, match="min_share: 0 is not above 0"):
        Options(min_share=0)


def test_reports_label_health():
    given = np.repeat([0, 1, 2, 3], 100)
    codes = given.copy()
    codes[:40] = 1
    health = [finding for finding in overlap(given, codes, sure=SPREAD).findings if finding.kind == "label_health"]
    assert [(finding.label, finding.row) for finding in health] == [(None, None)]
    evidence = health[0].evidence
    assert 0.88 < evidence["label_health"] < 0.93
    assert 30 < evidence["expected_errors"] < 50
    assert evidence["expected_share_interval"][0] < 0.1 < evidence["expected_share_interval"][1]
    assert next(iter(evidence["worst_classes"])) == "a"
    assert evidence["overlapping_pairs"][0]["classes"] == ["a", "b"]


def test_correct_labels_have_no_findings():
    given = np.repeat([0, 1, 2, 3], 50)
    predictions = predicted(given, sure=0.9999)
    assert not run(frame(given), predictions, judge_labels(predictions, given), CLASSES, options=Options()).findings


def test_thousand_equal_classes_have_no_warnings():
    """Fifty images each; 5% are wrong and 10% predicted as the next class, which is exactly at the limit."""
    random, names = np.random.default_rng(0), [f"c{at:04d}" for at in range(1000)]
    given = np.repeat(np.arange(1000), 50)
    codes = np.where(random.random(len(given)) < 0.1, (given + 1) % 1000, given)
    wrong = (random.random(len(given)) < 0.05).astype(np.float32)
    wrong[:50] = 0.4  # but this class
    quality = pd.DataFrame({"given": given, "predicted": codes, "probability_wrong": wrong})
    predictions = np.full((len(given), 1000), 1e-4, np.float32)
    predictions[np.arange(len(given)), codes] = 0.9
    samples = pd.DataFrame({"sample_id": "", "label": "", "labels": None}, index=range(len(given)))
    found = run(samples, predictions, quality, names, options=Options()).findings
    pairs = [finding for finding in found if finding.kind == "confused_pair"]
    assert len(pairs) > 400
    assert {finding.severity for finding in pairs} == {"info"}
    assert [finding.label for finding in found if finding.kind == "poor_labels"] == ["c0000"]


def test_significant_pair_is_a_warning():
    given = np.repeat([0, 1, 2, 3], 50)
    codes = given.copy()
    codes[:20], codes[50:58] = 1, 2
    pairs = {finding.label: finding for finding in overlap(given, codes).findings if finding.kind == "confused_pair"}
    assert {label: finding.severity for label, finding in pairs.items()} == {"a": "warning", "b": "info"}
    assert pairs["a"].evidence["adjusted_p"] < 0.05 < pairs["b"].evidence["adjusted_p"]

import numpy as np
import pandas as pd
import pytest

from audit.checks.label_errors import Options, run, verdict
from audit.errors import ConfigError
from audit.labels.quality import judge_labels, label_codes
from audit.tables import PAIRS

CLASSES = ["bird", "cat", "dog"]


def dataset(rows=300):
    """Predictions that agree with the labels, but for row 0: labelled cat, predicted dog."""
    given = np.arange(rows) % 3
    predictions = np.full((rows, 3), 0.1, np.float32)
    predictions[np.arange(rows), given] = 0.8
    given[0] = 1
    predictions[0] = [0.01, 0.01, 0.98]
    samples = pd.DataFrame({"sample_id": [f"{at:03}.jpg" for at in range(rows)], "label": [CLASSES[code] for code in given], "labels": None})
    return samples, predictions


def errors(samples, predictions, pairs=None, neighbors=None, words=None, **options):
    quality = judge_labels(predictions, label_codes(samples["label"], CLASSES), pairs)
    return run(samples, predictions, quality, CLASSES, pairs, neighbors, words, options=Options(**options))


def test_reports_planted_error_with_evidence():
    samples, predictions = dataset()
    neighbors = np.full((len(samples), 2), -1, np.int32)
    neighbors[0] = [2, 5]
    found = errors(samples, predictions, neighbors=neighbors)
    assert [finding.row for finding in found.findings] == [0]
    finding = found.findings[0]
    assert (finding.kind, finding.suggested_label) == ("wrong", "dog")
    assert next(iter(finding.evidence["probabilities"])) == "dog"
    assert finding.evidence["neighbors"] == [{"sample_id": "002.jpg", "label": "dog"}, {"sample_id": "005.jpg", "label": "dog"}]
    precision, low, high = finding.evidence["list_precision"]
    assert 0 <= low <= precision <= high <= 1
    assert found.scores.argmax() == 0


def test_shows_words_of_label_codes():
    (found,) = errors(*dataset(), words={"cat": "tabby, tabby cat", "dog": "Samoyed, Samoyede"}).findings
    assert found.message == "Labelled 'cat' (tabby), but 'dog' (Samoyed) fits better. Correct the label."


@pytest.mark.parametrize(
    ("own", "other", "overlap", "copy_agrees", "expected"),
    [
        (0.05, 0.9, False, False, "wrong"),
        (0.1, 0.8, True, False, "overlapping_classes"),
        (0.2, 0.3, True, False, "unclear"),
        (0.2, 0.3, True, True, "wrong"),
    ],
)
def test_verdicts(own, other, overlap, copy_agrees, expected):
    assert verdict(own, other, overlap=overlap, copy_agrees=copy_agrees, options=Options()) == expected


def test_label_of_a_class_that_looks_like_the_other_is_overlapping():
    samples, predictions = dataset()
    rows = np.flatnonzero(samples["label"] == "cat")[1:40]  # 39 of 101 cats
    predictions[rows] = [0.1, 0.44, 0.46]
    (finding,) = errors(samples, predictions).findings
    assert (finding.row, finding.kind, finding.severity) == (0, "overlapping_classes", "info")
    assert finding.evidence["label_set"] == ["cat", "dog"]


def test_suggests_only_a_class_that_is_likelier_right_than_not():
    samples, predictions = dataset()
    (sure,) = errors(samples, predictions, min_probability=0.2).findings
    predictions[0] = [0.45, 0.1, 0.45]
    (unsure,) = errors(samples, predictions, min_probability=0.2).findings
    assert (sure.kind, unsure.kind) == ("wrong", "wrong")
    assert (sure.suggested_label, unsure.suggested_label) == ("dog", None)
    assert unsure.message.endswith("Look at the image.")


def test_conflicting_copy_flags_the_less_likely_label():
    samples, predictions = dataset()
    predictions[4] = [0.02, 0.68, 0.30]  # labelled cat
    predictions[5] = [0.02, 0.68, 0.30]  # its copy, labelled dog
    pairs = pd.DataFrame([{"i": 4, "j": 5, "relation": "identical_bytes", "score": 1.0, "group": 4, "evidence": "{}"}], columns=PAIRS.names)
    alone = errors(samples, predictions)
    found = errors(samples, predictions, pairs)
    assert found.scores[5] > alone.scores[5]
    reported = {finding.row: finding for finding in found.findings}
    assert 5 in reported
    assert 4 not in reported
    assert reported[5].suggested_label == "cat"
    assert reported[5].severity == "error"
    assert reported[5].evidence["copies"] == [{"sample_id": "004.jpg", "label": "cat"}]
    assert reported[5].evidence["conflicting_copies"] == 1


@pytest.mark.parametrize("odd", range(5))
def test_reports_only_the_odd_one_of_five_copies(pairs_of_sets, odd):
    samples, predictions = dataset()
    samples.loc[:4, "label"] = "cat"
    samples.loc[odd, "label"] = "dog"
    predictions[:5] = [0.05, 0.35, 0.6]
    (finding,) = errors(samples, predictions, pairs_of_sets([0] * 5 + list(range(5, 300)))).findings
    assert (finding.row, finding.kind, finding.severity, finding.suggested_label) == (odd, "wrong", "error", "cat")
    assert finding.message == "Labelled 'dog', but 'cat' fits better. Correct the label."
    assert [copy["label"] for copy in finding.evidence["copies"]] == ["cat"] * 4


def test_uncertain_copy_alone_is_not_an_error():
    samples, predictions = dataset()
    predictions[4] = predictions[5] = [0.02, 0.55, 0.43]  # labelled cat and dog
    for score, severity in ((0.95, "error"), (0.85, "warning")):
        pair = {"i": 4, "j": 5, "relation": "edited_copy", "score": score, "group": 4, "evidence": "{}"}
        found = {finding.row: finding for finding in errors(samples, predictions, pd.DataFrame([pair], columns=PAIRS.names)).findings}
        assert found[5].evidence["probability_wrong"] < 0.9
        assert found[5].severity == severity


def test_lists_some_copies_and_counts_all(pairs_of_sets):
    samples, predictions = dataset()
    samples.loc[:49, "label"] = "cat"
    samples.loc[7, "label"] = "dog"
    predictions[:50] = [0.05, 0.6, 0.35]
    (finding,) = errors(samples, predictions, pairs_of_sets([0] * 50 + list(range(50, 300)))).findings
    assert finding.evidence["conflicting_copies"] == 49
    assert [copy["sample_id"] for copy in finding.evidence["copies"]] == [f"{row:03}.jpg" for row in (*range(7), 8, 9, 10)]


def test_ignores_label_without_predictions():
    samples, predictions = dataset()
    samples.loc[9, "label"] = "unicorn"
    samples.loc[10, "label"] = None
    found = errors(samples, predictions)
    assert np.flatnonzero(np.isnan(found.scores)).tolist() == [9, 10]


def test_refuses_options_out_of_range():
    with pytest.raises(ConfigError, match="min_probability: 2 is not between"):
        Options(min_probability=2)

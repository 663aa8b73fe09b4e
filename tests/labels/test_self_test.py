import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from audit.labels.noise import estimate_noise
from audit.labels.quality import judge
from audit.labels.self_test import SHARE, self_test
from audit.labels.suspicion import suspect
from audit.predictions.calibration import softmax


def model(rows=4000, classes=5, strength=4.0, seed=0):
    """Draw true labels from the predictions of a calibrated model, so that it errs as often as it expects."""
    draw = np.random.default_rng(seed)
    predictions = softmax((draw.normal(size=(rows, classes)) * strength).astype(np.float32))
    true = (draw.random(rows)[:, None] > predictions.cumsum(1)).sum(1).clip(max=classes - 1)
    return predictions, true


def plant(predictions, true, share, kind, seed=1):
    draw = np.random.default_rng(seed)
    rows = draw.permutation(len(true))[: round(share * len(true))]
    given = true.copy()
    if kind == "random":
        given[rows] = (true[rows] + draw.integers(1, predictions.shape[1], len(rows))) % predictions.shape[1]
    else:
        others = predictions[rows].copy()
        others[np.arange(len(rows)), true[rows]] = -1
        given[rows] = others.argmax(1)
    return given


@pytest.mark.parametrize("strength", [1.5, 4.0])
def test_weak_model_is_not_taken_for_noise(strength):
    """The labels are right, although the weaker model contradicts 40% of them."""
    predictions, true = model(strength=strength)
    table = judge(predictions, true).table
    assert table["probability_low"].mean() <= 0.005
    assert table["probability_wrong"].mean() < 0.01
    assert (table["probability_wrong"] >= 0.5).mean() < 0.005


@pytest.mark.parametrize("kind", ["random", "confusable"])
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_share_of_wrong_labels_is_estimated(kind, share):
    predictions, true = model()
    given = plant(predictions, true, share, kind)
    judged = judge(predictions, given)
    wrong, stated = given != true, judged.table["probability_wrong"].to_numpy()
    assert abs(stated.mean() - wrong.mean()) < 0.02
    assert judged.table["probability_low"].mean() <= wrong.mean() <= judged.table["probability_high"].mean()
    assert wrong[stated >= 0.9].mean() >= 0.8
    assert judged.noise.kind == kind


def test_miscalibrated_predictions_are_recalibrated():
    predictions, true = model()
    given = plant(predictions, true, 0.05, "random")
    expected = suspect(predictions, given, estimate_noise(predictions, given)).probability
    for power in (0.5, 1.4):
        warped = predictions**power / (predictions**power).sum(1, keepdims=True)
        found = suspect(warped.astype(np.float32), given, estimate_noise(warped.astype(np.float32), given)).probability
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_self_test_predicts_how_many_planted_errors_are_found():
    predictions, true = model()
    found = self_test(predictions, true, estimate_noise(predictions, true))
    assert found.changed == 2 * round(SHARE * len(true))
    given = plant(predictions, true, SHARE, "random", seed=9)
    stated = suspect(predictions, given, estimate_noise(predictions, given)).probability
    assert abs((stated[given != true] >= 0.5).mean() - found.found_random) < 0.15
    assert found.found <= found.flagged


def test_self_test_names_classes_that_it_cannot_help_with():
    """Classes 3 and 4 are distinguished from the others, but not from each other."""
    predictions, true = model(strength=9)
    both = predictions[:, 3:].sum(1) / 2
    predictions[:, 3], predictions[:, 4] = both, both
    draw = np.random.default_rng(0)
    true = np.where(true >= 3, draw.integers(3, 5, len(true)), true)
    found = self_test(predictions, true, estimate_noise(predictions, true))
    assert found.found_by_class[3:].max() < found.found_by_class[:3].min() - 0.02
    weak, labels = model(strength=0.5)
    assert self_test(weak, labels, estimate_noise(weak, labels)).helpless == [0, 1, 2, 3, 4]


def test_facts_name_classes_and_are_empty_without_a_test():
    predictions, true = model(200)
    facts = judge(predictions, true).facts(list("abcde"))
    assert set(facts["self_test"]["cannot_help"]) <= set("abcde")
    assert facts["self_test"]["wrong_share_interval"][0] <= facts["self_test"]["wrong_share"] <= facts["self_test"]["wrong_share_interval"][1]
    assert judge(np.ones((3, 1), np.float32), np.zeros(3, int)).facts(["a"]) == {}


@settings(deadline=None, max_examples=40)
@cases(st.integers(0, 40), st.integers(2, 5), st.floats(0.01, 30), st.integers(0, 99), st.booleans())
def test_any_predictions_have_probabilities_within_their_interval(rows, classes, strength, seed, supplied):
    draw = np.random.default_rng(seed)
    predictions = softmax((draw.normal(size=(rows, classes)) * strength).astype(np.float32))
    given = draw.integers(-1, classes, rows)
    predictions[draw.random(rows) < 0.1] = np.nan
    table = judge(predictions, given, supplied=supplied).table
    judged = table["probability_wrong"].notna().to_numpy()
    assert (judged == ((given >= 0) & np.isfinite(predictions[:, 0]))).all()
    low, middle, high = (table.loc[judged, name].to_numpy() for name in ("probability_low", "probability_wrong", "probability_high"))
    assert ((low >= 0) & (low <= middle + 1e-6) & (middle <= high + 1e-6) & (high <= 1)).all()
    assert table.loc[judged, "score"].between(0, 1).all()
    assert table.loc[judged, "alternative_probability"].between(0, 1 + 1e-6).all()

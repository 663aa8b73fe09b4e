import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from audit.labels.noise import estimate_noise, logarithms
from audit.labels.noise_fits import Fit, fit_share, label_probability, standard_error
from audit.labels.quality import judge
from audit.labels.self_test import self_test
from audit.labels.suspicion import suspect
from audit.labels.systematic import PAIR_GAIN, fit_pairs, pair_gains
from audit.predictions.calibration import softmax


def model(rows=3000, classes=10, strength=4.0, seed=0):
    """Draw true labels from the predictions of a calibrated model, so that it errs as often as it expects."""
    draw = np.random.default_rng(seed)
    predictions = softmax((draw.normal(size=(rows, classes)) * strength).astype(np.float32))
    true = (draw.random(rows)[:, None] > predictions.cumsum(1)).sum(1).clip(max=classes - 1)
    return predictions, true


def relabel(true, from_class, to_class, share=0.25, seed=1):
    draw = np.random.default_rng(seed)
    rows = np.flatnonzero(true == from_class)
    given = true.copy()
    given[draw.permutation(rows)[: round(share * len(rows))]] = to_class
    return given


def test_class_that_is_partly_labelled_another_is_found():
    predictions, true = model()
    given = relabel(true, 3, 7)
    noise = estimate_noise(predictions, given)
    assert (noise.kind, [(pair.true, pair.given) for pair in noise.systematic]) == ("systematic", [(3, 7)])
    assert noise.systematic[0].rate == pytest.approx(0.25, abs=0.06)
    assert noise.share == pytest.approx((given != true).mean(), abs=0.008)
    found = suspect(predictions, given, noise)
    flagged, wrong = found.probability >= 0.5, given != true
    assert wrong[flagged].mean() > 0.85
    assert flagged[wrong].mean() > 0.7
    assert (found.other[flagged & wrong] == 3).mean() > 0.95


def test_two_pairs_and_random_errors_are_separated():
    predictions, true = model(6000)
    given = relabel(relabel(true, 3, 7), 2, 7)
    draw = np.random.default_rng(5)
    rows = draw.permutation(len(given))[:180]
    given[rows] = (given[rows] + draw.integers(1, 10, len(rows))) % 10
    noise = estimate_noise(predictions, given)
    assert {(pair.true, pair.given) for pair in noise.systematic} == {(3, 7), (2, 7)}
    assert noise.share == pytest.approx((given != true).mean(), abs=0.012)
    assert noise.share_interval[0] <= (given != true).mean() <= noise.share_interval[1]


def test_systematic_errors_are_added_to_confusable_ones():
    predictions, true = model(6000)
    given = relabel(true, 3, 7, share=0.4)
    rows = np.random.default_rng(5).permutation(len(given))[:600]
    others = predictions[rows].copy()
    others[np.arange(len(rows)), given[rows]] = -1
    given[rows] = others.argmax(1)
    noise = estimate_noise(predictions, given)
    assert [(pair.true, pair.given) for pair in noise.systematic] == [(3, 7)]
    assert noise.confusable > 0.05
    assert noise.share == pytest.approx((given != true).mean(), abs=0.03)


def test_classes_that_are_exchanged_are_one_pair_at_most():
    """Both directions are the mark of classes that the model cannot distinguish, not of a slip."""
    predictions, true = model()
    given = np.where(true == 3, relabel(true, 3, 7), relabel(true, 7, 3))
    assert len(estimate_noise(predictions, given, kind="systematic").systematic) == 1


@settings(deadline=None, max_examples=30)
@cases(st.integers(50, 2000), st.integers(2, 30), st.floats(0.3, 8), st.integers(0, 999))
def test_weak_or_strong_calibrated_model_shows_no_pairs(rows, classes, strength, seed):
    predictions, true = model(rows, classes, strength, seed)
    assert estimate_noise(predictions, true).systematic == ()


@settings(deadline=None, max_examples=20)
@cases(st.integers(100, 600), st.integers(3, 8), st.integers(0, 99), st.floats(0, 0.5))
def test_likelihood_of_labels_sums_to_one_and_pairs_raise_it(rows, classes, seed, share):
    predictions, true = model(rows, classes, 2.0, seed)
    given = relabel(true, 0, 1, share)
    fit = fit_pairs(predictions, given, pairs=[(0, 1), (2, 1)], confusable=False)
    assert fit.likelihood >= fit_share(predictions, given).likelihood - 0.1
    every = sum(label_probability(predictions, np.full(rows, label), fit) for label in range(classes))
    np.testing.assert_allclose(every, 1, atol=1e-4)
    assert 0 <= fit.random <= fit.share <= 1
    assert standard_error(fit, logarithms(predictions), given) >= 0


def test_gain_is_that_of_the_fit():
    predictions, true = model()
    given = relabel(true, 3, 7)
    without = fit_share(predictions, given)
    gains = pair_gains(predictions, given, without)
    best = gains.gain.argmax()
    assert (gains.true[best], gains.given[best]) == (3, 7)
    fit = fit_pairs(predictions, given, pairs=[(3, 7)], confusable=False)
    assert PAIR_GAIN < gains.gain[best] <= fit.likelihood - without.likelihood + 0.1
    assert pair_gains(predictions, given, fit).gain.max() < PAIR_GAIN


def test_gains_of_labels_that_agree_with_the_predictions_are_empty():
    gains = pair_gains(np.eye(3, dtype=np.float32), np.arange(3), Fit(0.0, 0.1))
    assert len(gains.gain) == 0


def test_self_test_and_record_keep_the_kind():
    predictions, true = model()
    given = relabel(true, 3, 7)
    judged = judge(predictions, given)
    facts = judged.facts(list("abcdefghij"))
    (pair,) = facts["label_noise"]["systematic"]
    assert (facts["label_noise"]["kind"], pair[:2]) == ("systematic", ["d", "h"])
    assert pair[3] == pytest.approx((given != true).sum(), rel=0.25)
    assert judged.table["probability_low"].mean() <= (given != true).mean() <= judged.table["probability_high"].mean()
    assert self_test(predictions, given, estimate_noise(predictions, given)).found_random > 0.5

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks.base import Skipped
from audit.checks.split_shift import Options, _Areas, compare, run
from audit.errors import ConfigError
from audit.tables import PAIRS

NONE = PAIRS.empty_table().to_pandas()


def dataset(samples_of, seed=0, classes=6, each=80, moved=None, everywhere=0.0, shares=None):
    """Return unit embeddings around one direction per class, a fifth in val; ``moved`` shifts the val images of one class."""
    random = np.random.default_rng(seed)
    rows, vectors = [], []
    for at in range(classes * each):
        label = at % classes
        val = random.random() < (shares[label] if shares else 0.2)
        vector = np.eye(32)[label] * 2 + random.normal(0, 0.4, 32)
        vector[20] += 2.0 * (val and label == moved) + everywhere * val
        rows.append({"label": f"class {label}", "split": "val" if val else "train", "content_id": random.bytes(32).hex()})
        vectors.append(vector / np.linalg.norm(vector))
    return samples_of(rows), np.array(vectors, np.float16)


def test_ignores_chance_and_class_shares(samples_of):
    for seed in range(4):
        assert run(*dataset(samples_of, seed), NONE, {}, options=Options()).findings == []
    assert run(*dataset(samples_of, shares=[0.1, 0.6, 0.2, 0.5, 0.1, 0.3]), NONE, {}, options=Options()).findings == []


def test_reports_shifted_class_with_its_images(samples_of):
    samples, embeddings = dataset(samples_of, moved=3)
    found = run(samples, embeddings, NONE, {}, options=Options())
    assert [(finding.kind, finding.label) for finding in found.findings] == [("class_differs_in_val", "class 3")]
    val = samples[(samples["label"] == "class 3") & (samples["split"] == "val")]
    assert set(found.findings[0].evidence["examples"]) <= set(val["sample_id"])
    assert set(np.flatnonzero(found.scores > 0)) <= set(val.index)
    assert (found.scores > 0).sum() > 0.9 * len(val)


def test_shift_of_all_classes_is_one_finding(samples_of):
    samples, embeddings = dataset(samples_of, everywhere=0.6)
    found = run(samples, embeddings, NONE, {"class 0": "tench"}, options=Options(least_auc=0.99))
    assert [(finding.kind, finding.label) for finding in found.findings] == [("differs_in_val", None)]
    low, high = found.findings[0].evidence["interval"]
    assert 0.6 < low < found.findings[0].evidence["auc"] < high
    assert len(found.findings[0].evidence["examples"]) == 5
    assert set(found.findings[0].evidence["examples"]) <= set(samples["sample_id"][samples["split"] == "val"])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_p_value_is_rarely_small_by_chance(seed):
    random = np.random.default_rng(seed)
    vectors = random.normal(0, random.random(8) + 0.1, (120, 8)).astype(np.float32)
    shift = compare(vectors, np.arange(120) % 5 == 0, np.arange(120) < 60)
    assert 1e-4 < shift.p <= 1
    assert 0 <= shift.low <= shift.auc <= shift.high <= 1


def test_p_values_are_uniform_without_difference():
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        vectors = random.normal(0, np.linspace(0.2, 2, 8), (60, 8)).astype(np.float32)
        found.append(compare(vectors, np.arange(60) % 4 == 0, np.arange(60) < 30).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def compared_by_class(seed, shift=0.0, classes=50, train=20, val=1):
    """Compare classes with many images in one split and few in the other, all shifted equally."""
    random = np.random.default_rng(seed)
    strata, second = np.repeat(np.arange(classes), train + val), np.tile(np.arange(train + val) >= train, classes)
    vectors = random.normal(0, 0.3, (len(strata), 64)) + random.normal(0, 0.5, (classes, 64))[strata]
    vectors[:, 0] += shift * second
    return compare(vectors.astype(np.float32), second, random.random(len(strata)) < 0.5, strata=strata)


def test_area_is_half_without_difference_for_small_classes():
    found = [compared_by_class(seed) for seed in range(60)]
    assert abs(np.mean([shift.auc for shift in found]) - 0.5) < 0.02  # 0.71 where each image was centred on a mean that it was part of
    assert np.mean([shift.p <= 0.05 for shift in found]) < 0.12


@pytest.mark.parametrize("moved", [0.0, 0.2, 0.4])
def test_interval_contains_mean_of_many_datasets(moved):
    found = [compared_by_class(seed, moved) for seed in range(80)]
    mean = np.mean([shift.auc for shift in found])
    assert np.mean([shift.low <= mean <= shift.high for shift in found]) > 0.87


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 40))
def test_areas_count_pairs_within_strata(seed, groups, count):
    random = np.random.default_rng(seed)
    strata, second = random.integers(0, groups, count), random.random(count) < 0.4
    score = random.integers(0, 6, count).astype(np.float32)
    wins = [
        0.5 + 0.5 * np.sign(float(score[one]) - float(score[other]))
        for one in np.flatnonzero(second)
        for other in np.flatnonzero(~second)
        if strata[one] == strata[other]
    ]
    assert _Areas.of(score, second, strata).mean == pytest.approx(np.mean(wins) if wins else 0.5)


def copied(samples_of, pairs_of, seed=0, classes=20, pictures=10, each=8):
    """Return classes of few distinct images per split, in many copies with different bytes and nearly the same embedding."""
    random = np.random.default_rng(seed)
    rows, vectors, pairs = [], [], []
    for at in range(classes * pictures):
        vector = random.normal(size=32)
        pairs += [(at * each, at * each + copy, "re_encoded", 1.0, at * each) for copy in range(1, each)]
        for copy in range(each):
            split = "val" if at // classes % 2 else "train"
            rows.append({"sample_id": f"{at}/{copy}.jpg", "label": f"class {at % classes}", "split": split, "content_id": random.bytes(32).hex()})
            near = vector + random.normal(0, 0.02, 32)
            vectors.append(near / np.linalg.norm(near))
    return samples_of(rows), np.array(vectors, np.float16), pairs_of(pairs)


def test_counts_copies_once(samples_of, pairs_of):
    samples, embeddings, pairs = copied(samples_of, pairs_of)
    assert len(run(samples, embeddings, NONE, {}, options=Options()).findings) >= 20
    assert run(samples, embeddings, pairs, {}, options=Options(fewest=5)).findings == []


def test_scores_all_copies_that_drive_a_shift(samples_of, pairs_of):
    samples, embeddings, pairs = copied(samples_of, pairs_of, classes=2, pictures=80, each=3)
    val = ((samples["split"] == "val") & (samples["label"] == "class 0")).to_numpy()
    embeddings[val, 3] += 1
    found = run(samples, embeddings, pairs, {}, options=Options())
    (finding,) = (finding for finding in found.findings if finding.label)
    assert (finding.evidence["images"], finding.evidence["pictures"]) == ([120, 120], [40, 40])
    assert (found.scores[val] > 0).mean() > 0.9
    last = len(samples) - 1
    turned = pairs.assign(i=last - pairs["j"], j=last - pairs["i"])
    again = run(samples[::-1].reset_index(drop=True), embeddings[::-1], turned, {}, options=Options())
    np.testing.assert_allclose(again.scores[::-1], found.scores, atol=1e-5)
    assert again.findings[0].evidence["examples"] == found.findings[0].evidence["examples"]


def test_small_true_differences_add_no_false_findings(samples_of):
    """A hundred large classes that truly differ, mostly less than is reported, and small ones that differ by chance."""
    random = np.random.default_rng(0)
    rows, vectors = [], []
    for at in range(250):
        large = at < 100
        for place in range(200 if large else 20):
            val = place % 2 == 0
            vector = random.normal(size=6)
            vector[0] += 0.6 * (val and large)
            rows.append({"label": f"{'large' if large else 'small'} {at}", "split": "val" if val else "train", "content_id": random.bytes(32).hex()})
            vectors.append(vector / np.linalg.norm(vector))
    found = run(samples_of(rows), np.array(vectors, np.float16), NONE, {}, options=Options()).findings
    assert [finding.label for finding in found if "small" in (finding.label or "")] == []


def test_is_skipped_for_one_split_and_refuses_bad_options(samples_of):
    samples, embeddings = dataset(samples_of, shares=[0.0] * 6)
    assert run(samples, embeddings, NONE, {}, options=Options()) == Skipped("all images are in one split")
    with pytest.raises(ConfigError, match="fewest: 2 is out of range"):
        Options(fewest=2)

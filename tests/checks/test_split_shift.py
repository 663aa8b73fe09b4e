import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks.base import Skipped
from audit.checks.split_shift import Options, compare, run
from audit.errors import ConfigError


def dataset(samples_of, seed=0, classes=6, each=80, moved=None, everywhere=0.0, shares=None):
    """Unit embeddings around one direction per class; a fifth of each is in val. ``moved`` shifts the val images of one class."""
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


def test_chance_and_other_class_shares_are_no_shift(samples_of):
    for seed in range(4):
        assert run(*dataset(samples_of, seed), {}, options=Options()).findings == []
    assert run(*dataset(samples_of, shares=[0.1, 0.6, 0.2, 0.5, 0.1, 0.3]), {}, options=Options()).findings == []


def test_a_class_whose_val_images_are_something_else_is_named_with_them(samples_of):
    samples, embeddings = dataset(samples_of, moved=3)
    found = run(samples, embeddings, {}, options=Options())
    assert [(finding.kind, finding.label) for finding in found.findings] == [("class_differs_in_val", "class 3")]
    val = samples[(samples["label"] == "class 3") & (samples["split"] == "val")]
    assert set(found.findings[0].evidence["examples"]) <= set(val["sample_id"])
    assert set(np.flatnonzero(found.scores > 0)) <= set(val.index)
    assert (found.scores > 0).sum() > 0.9 * len(val)


def test_a_shift_of_everything_is_one_finding_about_the_dataset(samples_of):
    samples, embeddings = dataset(samples_of, everywhere=0.6)
    found = run(samples, embeddings, {"class 0": "tench"}, options=Options(least_auc=0.99))
    assert [(finding.kind, finding.label) for finding in found.findings] == [("differs_in_val", None)]
    low, high = found.findings[0].evidence["interval"]
    assert 0.6 < low < found.findings[0].evidence["auc"] < high
    assert len(found.findings[0].evidence["examples"]) == 5
    assert set(found.findings[0].evidence["examples"]) <= set(samples["sample_id"][samples["split"] == "val"])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_the_chance_of_a_distance_is_a_probability_and_seldom_small(seed):
    random = np.random.default_rng(seed)
    vectors = random.normal(0, random.random(8) + 0.1, (120, 8)).astype(np.float32)
    shift = compare(vectors, np.arange(120) % 5 == 0, np.arange(120) < 60)
    assert 1e-4 < shift.p <= 1
    assert 0 <= shift.low <= shift.auc <= shift.high <= 1


def test_chances_are_spread_evenly_where_nothing_differs():
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        vectors = random.normal(0, np.linspace(0.2, 2, 8), (60, 8)).astype(np.float32)
        found.append(compare(vectors, np.arange(60) % 4 == 0, np.arange(60) < 30).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_one_split_and_impossible_options(samples_of):
    samples, embeddings = dataset(samples_of, shares=[0.0] * 6)
    assert run(samples, embeddings, {}, options=Options()) == Skipped("all images are in one split")
    with pytest.raises(ConfigError, match="fewest: 2 is out of range"):
        Options(fewest=2)

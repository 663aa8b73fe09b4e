import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks.base import Skipped
from audit.checks.class_balance import Options, label_shift, run
from audit.errors import ConfigError


def kinds(result):
    return {(finding.kind, finding.label) for finding in result.findings}


def found(samples_of, pairs_of, counts, pairs=(), **options):
    """Classes and splits from {(label, split): number}."""
    rows = [{"label": label, "split": split} for (label, split), number in counts.items() for _ in range(number)]
    return run(samples_of(rows), pairs_of(list(pairs)), {}, options=Options(**options))


def test_a_class_of_copies_is_a_class_of_few_pictures(samples_of, pairs_of):
    pairs = [(0, other, "re_encoded", 1.0, 0) for other in range(1, 15)]
    result = found(samples_of, pairs_of, {("ant", "train"): 20, ("bee", "train"): 20}, pairs)
    assert kinds(result) == {("few_images", "ant"), ("fewer_pictures_than_images", "ant")}
    assert result.findings[0].evidence == {"images": 20, "pictures": 6}
    same_scene = [(i, j, "same_scene", score, group) for i, j, _, score, group in pairs]
    assert not found(samples_of, pairs_of, {("ant", "train"): 20, ("bee", "train"): 20}, same_scene).findings


def test_imbalance_counts_how_many_classes_there_really_are(samples_of, pairs_of):
    result = found(samples_of, pairs_of, {("ant", "train"): 300, ("bee", "train"): 15})
    assert kinds(result) == {("imbalance", None)}
    assert result.findings[0].evidence["ratio"] == 20
    assert 1 < result.findings[0].evidence["effective_classes"] < 1.3


def test_a_class_dealt_unevenly_is_named_and_an_even_one_is_not(samples_of, pairs_of):
    counts = {(label, split): 100 if split == "val" else 400 for label in "abcdef" for split in ("train", "val")}
    assert not found(samples_of, pairs_of, counts).findings
    counts["c", "val"] = 20
    result = found(samples_of, pairs_of, counts)
    assert kinds(result) == {("split_skew", "c"), ("label_shift", None)}
    shift = next(finding for finding in result.findings if finding.kind == "label_shift").evidence
    assert shift["low"] <= shift["distance"] <= shift["high"]
    counts["c", "val"] = 0
    assert ("absent_from_split", "c") in kinds(found(samples_of, pairs_of, counts))


def test_several_labels_count_for_each(samples_of, pairs_of):
    rows = [{"label": None, "labels": ["ant", "bee"]} for _ in range(3)] + [{"label": "bee"} for _ in range(9)]
    result = run(samples_of(rows), pairs_of([]), {}, options=Options())
    assert kinds(result) == {("few_images", "ant")}


@settings(deadline=None, max_examples=25, derandomize=True)  # of a thousand seeds about one is such a chance: which are drawn must not vary
@given(st.integers(0, 10_000))
def test_chance_alone_is_hardly_ever_reported(seed):
    from scipy.stats import false_discovery_control

    random = np.random.default_rng(seed)
    counts, rest = random.multinomial(2_000, np.full(50, 0.02)), random.multinomial(10_000, np.full(50, 0.02))
    distance, (low, high), p = label_shift(counts, rest)
    assert low <= high
    assert distance < 0.05
    assert (false_discovery_control(p) < 0.001).sum() == 0


def test_no_labels_and_impossible_options(samples_of, pairs_of):
    assert isinstance(found(samples_of, pairs_of, {(None, "train"): 3}), Skipped)
    with pytest.raises(ConfigError, match="few: 0 is too small"):
        Options(few=0)

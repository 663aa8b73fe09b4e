import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks.base import Skipped
from audit.checks.class_balance import Options, label_shift, run, skewed
from audit.errors import ConfigError


def kinds(result):
    return {(finding.kind, finding.label) for finding in result.findings}


def found(samples_of, pairs_of, counts, pairs=(), **options):
    """Run the check on images from {(label, split): number}."""
    rows = [{"label": label, "split": split} for (label, split), number in counts.items() for _ in range(number)]
    return run(samples_of(rows), pairs_of(list(pairs)), {}, options=Options(**options))


def test_counts_copies_once(samples_of, pairs_of):
    pairs = [(0, other, "re_encoded", 1.0, 0) for other in range(1, 15)]
    result = found(samples_of, pairs_of, {("ant", "train"): 20, ("bee", "train"): 20}, pairs)
    assert kinds(result) == {("few_images", "ant"), ("fewer_pictures_than_images", "ant")}
    assert result.findings[0].evidence == {"images": 20, "unreadable": 0, "pictures": 6}
    same_scene = [(i, j, "same_scene", score, group) for i, j, _, score, group in pairs]
    assert not found(samples_of, pairs_of, {("ant", "train"): 20, ("bee", "train"): 20}, same_scene).findings


def test_ignores_unreadable_images(samples_of, pairs_of):
    rows = [{"label": label, "split": split} for label in ("ant", "bee") for split in ("train", "val") for _ in range(60)]
    rows += [{"label": "void", "outcome": "empty"} for _ in range(40)]
    rows += [{"label": "cut", "outcome": "truncated" if at < 13 else "ok"} for at in range(15)]
    rows += [{"label": "bee", "split": "val", "outcome": "unreadable"} for _ in range(90)]
    result = run(samples_of(rows), pairs_of([]), {}, options=Options())
    assert kinds(result) == {("few_images", "void"), ("few_images", "cut"), ("imbalance", None), ("split_lacks_classes", None)}
    by_label = {finding.label: (finding.message, finding.evidence) for finding in result.findings}
    assert by_label["void"][0] == "The class 'void' has 40 images and none can be read. Download the class again or drop it."
    assert by_label["void"][1] == {"images": 40, "unreadable": 40, "pictures": 0}
    assert "has only 2 distinct images (13 of its 15 images cannot be read); 10 are needed." in by_label["cut"][0]
    assert by_label[None][1]["classes_absent"] == 1
    assert next(finding for finding in result.findings if finding.kind == "imbalance").evidence["ratio"] == 60


def test_class_unreadable_in_a_split_is_absent(samples_of, pairs_of):
    rows = [
        {"label": label, "split": split, "outcome": "missing" if (label, split) == ("c", "val") else "ok"}
        for label in "abc"
        for split in ("train", "val")
        for _ in range(50)
    ]
    assert ("absent_from_split", "c") in kinds(run(samples_of(rows), pairs_of([]), {}, options=Options()))


def test_imbalance_reports_effective_classes(samples_of, pairs_of):
    result = found(samples_of, pairs_of, {("ant", "train"): 300, ("bee", "train"): 15})
    assert kinds(result) == {("imbalance", None)}
    assert result.findings[0].evidence["ratio"] == 20
    assert 1 < result.findings[0].evidence["effective_classes"] < 1.3


def test_reports_uneven_class_only(samples_of, pairs_of):
    counts = {(label, split): 100 if split == "val" else 400 for label in "abcdef" for split in ("train", "val")}
    assert not found(samples_of, pairs_of, counts).findings
    counts["c", "val"] = 20
    result = found(samples_of, pairs_of, counts)
    assert kinds(result) == {("split_skew", "c"), ("label_shift", None)}
    shift = next(finding for finding in result.findings if finding.kind == "label_shift").evidence
    assert shift["low"] <= shift["distance"] <= shift["high"]
    counts["c", "val"] = 0
    assert ("absent_from_split", "c") in kinds(found(samples_of, pairs_of, counts))


def test_classes_missing_from_small_split_are_one_finding(samples_of, pairs_of):
    counts = {(f"class {at:03}", "train"): 10 for at in range(200)} | {("class 007", "demo"): 5}
    result = found(samples_of, pairs_of, counts)
    (lacking,) = (finding for finding in result.findings if finding.kind != "split_skew")
    assert (lacking.kind, lacking.label, lacking.severity) == ("split_lacks_classes", None, "info")
    assert (lacking.evidence["classes_absent"], lacking.evidence["pictures"], lacking.score) == (199, 5, 199 / 200)
    assert len(lacking.evidence["pictures_elsewhere"]) == 20
    assert "199 of 200 classes have no readable image in 'demo'; with 5 distinct images, fewer than 5 of each would be expected." in lacking.message


def test_reports_unexpected_absence_separately(samples_of, pairs_of):
    counts = {(f"class {at:02}", split): 40 if split == "train" else 8 for at in range(20) for split in ("train", "val") if (at, split) != (3, "val")}
    result = found(samples_of, pairs_of, counts | {("rare", "train"): 12})
    assert {("absent_from_split", "class 03"), ("split_lacks_classes", None)} <= kinds(result)
    assert ("absent_from_split", "rare") not in kinds(result)


@pytest.mark.parametrize("moved", [0.0, 0.05, 0.2, 0.4])
@pytest.mark.parametrize(("classes", "of_split", "of_rest"), [(10, 2_000, 20_000), (100, 5_000, 50_000), (1000, 5_000, 50_000)])
@pytest.mark.parametrize("moves", ["half of the classes", "a tenth of them"])
def test_interval_contains_true_distance(classes, of_split, of_rest, moved, moves):
    """Estimates that ignore sampling noise, or subtract all of it, fail this test."""
    random = np.random.default_rng(0)
    even = np.full(classes, 1 / classes)
    more = np.arange(classes) < (classes // 2 if moves == "half of the classes" else classes // 10)
    shares = even + np.where(more, moved / more.sum(), -moved / (~more).sum())
    estimates = [label_shift(random.multinomial(of_split, shares), random.multinomial(of_rest, even)) for _ in range(60)]
    assert np.mean([low <= moved + 1e-9 <= high + 2e-9 for _, (low, high) in estimates]) >= 0.88
    assert abs(np.mean([distance for distance, _ in estimates]) - moved) < 0.045


def test_small_true_differences_add_no_false_findings():
    """Classes that truly differ, but less than is reported, and small ones that differ by chance."""
    random = np.random.default_rng(0)
    true = np.arange(700) < 300
    weights = np.where(true, 3_000.0, 60)
    odd = weights * np.where(true, np.where(np.arange(700) % 2 == 0, 1.15, 0.85), 1)
    counts, rest = (random.multinomial(int(which.sum()), which / which.sum())[:, None] for which in (odd, weights))
    assert (skewed(counts, rest, 1.4) > Options().false_discoveries).all()


@pytest.mark.parametrize(("classes", "splits"), [(1000, (10_000, 1_200_000)), (100, (1_000, 1_000, 50_000)), (100, (2_000,) * 10)])
def test_random_splits_rarely_have_findings(classes, splits):
    """A normal approximation reported something in 19, 21 and 48% of such datasets."""
    random = np.random.default_rng(0)
    reported = 0
    for _ in range(100):
        counts = np.stack([random.multinomial(number, np.full(classes, 1 / classes)) for number in splits], 1)
        rest = counts.sum(1, keepdims=True) - counts
        reported += (skewed(counts, rest, Options().skew) <= Options().false_discoveries).any()
    assert reported <= 5


def test_reports_rare_class_of_small_split(samples_of, pairs_of):
    counts = {(label, split): 100 if split == "val" else 400 for label in "abcdef" for split in ("train", "val")}
    assert kinds(found(samples_of, pairs_of, counts | {("rare", "train"): 4, ("rare", "val"): 12})) == {("split_skew", "rare"), ("imbalance", None)}


def test_image_counts_for_each_label(samples_of, pairs_of):
    rows = [{"label": None, "labels": ["ant", "bee"]} for _ in range(3)] + [{"label": "bee"} for _ in range(9)]
    result = run(samples_of(rows), pairs_of([]), {}, options=Options())
    assert kinds(result) == {("few_images", "ant")}


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 10_000))
def test_distance_is_in_its_interval(seed):
    random = np.random.default_rng(seed)
    distance, (low, high) = label_shift(random.multinomial(2_000, np.full(50, 0.02)), random.multinomial(10_000, np.full(50, 0.02)))
    assert 0 <= low <= distance <= high <= 1


def test_skips_without_labels_and_refuses_bad_options(samples_of, pairs_of):
    assert run(samples_of([{"outcome": "missing"}] * 3), pairs_of([]), {}, options=Options()) == Skipped("no labelled image can be read")
    assert isinstance(found(samples_of, pairs_of, {(None, "train"): 3}), Skipped)
    with pytest.raises(ConfigError, match="few: 0 is too small"):
        Options(few=0)

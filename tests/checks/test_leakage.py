import numpy as np
import pytest

from audit.checks import Skipped


def test_drops_train_and_keeps_test(run_named, samples_of, pairs_of):
    samples = samples_of([{"split": split} for split in ("test", "train", "val", "train")])
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "edited_copy", 0.8, 0), (2, 3, "same_scene", 0.9, 2), (1, 3, "identical_pixels", 1, 1)])
    result = run_named("leakage", samples=samples, pairs=pairs)
    assert [(finding.row, finding.partner, finding.severity) for finding in result.findings] == [(1, 0, "error"), (2, 0, "error"), (3, 2, "warning")]
    assert [finding.evidence["drop_from"] for finding in result.findings] == ["train", "val", "train"]
    np.testing.assert_allclose(result.scores, [1, 1, 0.8, 0.45], rtol=1e-6)


def test_keep_sets_the_split_to_keep(run_named, samples_of, pairs_of):
    samples = samples_of([{"split": "train"}, {"split": "test"}])
    result = run_named("leakage", {"keep": ("train",)}, samples=samples, pairs=pairs_of([(0, 1, "identical_bytes", 1, 0)]))
    assert result.findings[0].row == 1


@pytest.mark.parametrize("splits", [("extra", "more"), ("more", "extra")])
def test_drops_from_the_later_of_two_other_splits(run_named, samples_of, pairs_of, splits):
    result = run_named("leakage", samples=samples_of([{"split": split} for split in splits]), pairs=pairs_of([(0, 1, "re_encoded", 0.9, 0)]))
    assert [(finding.row, finding.evidence["drop_from"]) for finding in result.findings] == [(splits.index("more"), "more")]


@pytest.mark.parametrize(("split", "reason"), [("train", "one split"), (None, "no splits")])
def test_one_split_is_skipped(run_named, samples_of, split, reason):
    result = run_named("leakage", samples=samples_of([{"split": split}] * 3))
    assert isinstance(result, Skipped)
    assert reason in result.reason


def test_drops_both_train_copies_of_a_test_image(run_named, samples_of, pairs_of):
    samples = samples_of([{"split": split} for split in ("train", "train", "test")])
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "identical_bytes", 1, 0)])
    result = run_named("leakage", samples=samples, pairs=pairs)
    assert sorted((finding.row, finding.partner) for finding in result.findings) == [(0, 2), (1, 2)]


def test_identical_copies_share_leaks(run_named, samples_of, pairs_of):
    """Only the first of two identical images was compared with the resized one."""
    samples = samples_of([{"split": split} for split in ("train", "val", "test")])
    pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "re_encoded", 0.9, 0)])
    result = run_named("leakage", samples=samples, pairs=pairs)
    found = {(finding.row, finding.partner): (finding.kind, finding.evidence["drop_from"]) for finding in result.findings}
    assert found == {(0, 1): ("identical_bytes", "train"), (0, 2): ("re_encoded", "train"), (1, 2): ("re_encoded", "val")}


def test_drops_two_of_three_identical_images(run_named, samples_of, pairs_of):
    for splits in (("train", "val", "test"), ("val", "test", "train"), ("test", "train", "val")):
        pairs = pairs_of([(0, 1, "identical_bytes", 1, 0), (0, 2, "identical_bytes", 1, 0)])
        result = run_named("leakage", samples=samples_of([{"split": split} for split in splits]), pairs=pairs)
        assert {splits[finding.row] for finding in result.findings} == {"train", "val"}


def test_says_what_was_compared(run_named, samples_of):
    samples = samples_of([{"split": "train"}] * 5 + [{"split": "test"}] * 5)
    note = run_named("leakage", samples=samples).note
    assert "no verified copy or shot is in two of test, train" in note
    assert "--group-column" in note
    grouped = run_named("leakage", samples=samples.assign(group=[f"person {at}" for at in range(10)])).note
    assert "10 groups were looked at" in grouped
    assert "--group-column" not in grouped

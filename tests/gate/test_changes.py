"""A gate notices loss: removed, moved and relabelled images, and options that hide findings."""

import json

import pandas as pd
import pytest

from audit.cli import invoke
from audit.diff.sample_changes import sample_changes
from audit.diff.sample_matching import match
from audit.gate.changes import judge_changes
from audit.gate.gate import weakening
from audit.gate.lock import pin
from audit.gate.policy import STARTER, read_policy
from audit.gate.requirements import requirement
from audit.gate.waivers import Waived
from audit.io.artifacts import read_json, write_json
from audit.run.run import Run


def dataset(train=160, val=40):
    rows = [
        (f"{split}/{number % 2}/{number}.jpg", split, str(number % 2)) for split, count in (("train", train), ("val", val)) for number in range(count)
    ]
    frame = pd.DataFrame(rows, columns=["sample_id", "split", "label"])
    return frame.assign(content_id=frame["sample_id"].map(lambda name: name.encode().hex()))


def changes(after, before=None):
    before = dataset() if before is None else before
    return sample_changes(before, after.reset_index(drop=True), match(before, after.reset_index(drop=True)))


@pytest.fixture
def rules(tmp_path):
    def read(text):
        (tmp_path / "policy.toml").write_text(text)
        return read_policy(tmp_path / "policy.toml", ["leakage", "conflicting_labels", "label_errors"]).changes

    return read


def judged(limits, found):
    verdicts = [judge_changes(limit, found, of_report=False) for limit in limits]
    return {verdict.rule: (verdict.state, verdict.message) for verdict in verdicts}


LOSSES = {
    "35 of 40 val images deleted": (
        dataset().iloc[:165],
        "changes.removed[per split]",
        "removed: val 35 of 40 (87.50%), train 0 of 160 (0.00%); limit 5.00%",
    ),
    "20% of train deleted": (
        dataset().iloc[32:],
        "changes.removed[per split]",
        "removed: train 32 of 160 (20.00%), val 0 of 40 (0.00%); limit 5.00%",
    ),
    "train and val swapped": (
        dataset().assign(split=lambda frame: frame["split"].map({"train": "val", "val": "train"})),
        "changes.moved",
        "moved: 200 of 200 (100.00%); limit 0",
    ),
    "a tenth relabelled": (
        dataset().assign(label=lambda frame: frame["label"].where(frame.index >= 20, "0")),
        "changes.relabelled",
        "relabelled: 10 of 200 (5.00%); limit 4.00%",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_starter_policy_fails_on_losses(rules, loss):
    after, rule, message = LOSSES[loss]
    text = STARTER.replace("relabelled.rate = 0.05", "relabelled.rate = 0.04")
    found = judged(rules(text), changes(after))
    assert found[rule] == ("failed", message)
    assert [state for other, (state, _) in found.items() if other != rule] == ["passed", "passed"]


def test_unchanged_dataset_passes(rules):
    assert {state for state, _ in judged(rules(STARTER), changes(dataset())).values()} == {"passed"}


def test_scopes_count_shares_and_units(rules):
    limits = rules(
        "[changes]\nadded = 9\nchanged.count = 0\n[[changes.removed]]\nsplit = 'val'\ncount = 1\n[[changes.removed]]\nclass = '1'\nrate = 0.02\n"
        "[[changes.removed]]\nper = 'class'\ncount = 2\n"
    )
    after = dataset().drop(index=[0, 2, 199])
    after.loc[5, "content_id"] = "other"
    added = pd.DataFrame({"sample_id": [f"new/{n}" for n in range(10)], "content_id": [f"n{n}" for n in range(10)], "split": "train", "label": "0"})
    assert judged(limits, changes(pd.concat([after, added]))) == {
        "changes.added": ("failed", "added: 10 of 200 (5.00%); limit 9"),
        "changes.changed": ("failed", "changed: 1 of 200 (0.50%); limit 0"),
        "changes.removed[split=val]": ("passed", "removed: 1 of 40 (2.50%); limit 1"),
        "changes.removed[class=1]": ("passed", "removed: 1 of 100 (1.00%); limit 2.00%"),
        "changes.removed[per class]": ("passed", "removed: 0 2 of 100 (2.00%), 1 1 of 100 (1.00%); limit 2"),
    }


def test_renamed_split_and_class_are_no_loss(rules):
    after = dataset().assign(split=lambda frame: frame["split"].replace("val", "test"), label=lambda frame: frame["label"].replace("1", "one"))
    assert {state for state, _ in judged(rules(STARTER), changes(after)).values()} == {"passed"}
    found = judged(rules("[[changes.removed]]\nsplit = 'test'\ncount = 0"), changes(after.drop(index=199)))
    assert found == {"changes.removed[split=test]": ("failed", "removed: 1 of 40 (2.50%); limit 0")}


def test_without_a_baseline_changes_are_not_judged(rules):
    (limit,) = rules("[changes]\nmoved = 0")
    assert judge_changes(limit, None, of_report=False).message == "there is no baseline"
    assert "pass a run or --since LOCK" in judge_changes(limit, None, of_report=True).message


def test_text_output_tells_what_was_removed_and_moved(small_run, tmp_path, capsys):
    """With exit code 0 too."""
    before = small_run.columns("sample_id", "content_id", "split", "label", "labels")
    before.loc[1, "split"] = {"train": "val", "val": "train"}[before.loc[1, "split"]]
    gone = before.iloc[[0]].assign(sample_id="gone", content_id="ab" * 32, split="val")
    (tmp_path / "audit.lock").write_text(pin(pd.concat([before, gone], ignore_index=True)))
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 99\n")
    words = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml")]
    assert invoke([*words, "--since", str(tmp_path / "audit.lock")]) == 0
    shown = capsys.readouterr().out
    assert "note: removed: 1 of " in shown
    assert "note: moved: 1 of " in shown
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 99\n[changes]\nremoved = 0\n")
    assert invoke([*words, "--since", str(tmp_path / "audit.lock")]) == 1
    assert "failed     changes.removed: removed: 1 of 7 (14.29%); limit 0" in capsys.readouterr().out


def test_enough_images_per_split(small_run):
    sizes = small_run.columns("split")["split"].value_counts()
    passed = requirement("min_per_split", {split: int(size) for split, size in sizes.items()}, small_run, None, Waived(frozenset()))
    assert passed.state == "passed"
    failed = requirement("min_per_split", {"test": 1, "val": 1000}, small_run, None, Waived(frozenset()))
    assert (failed.state, failed.message) == ("failed", f"too few images: test has 0 of 1, val has {sizes['val']} of 1,000")
    assert requirement("min_per_split", 1000, small_run, None, Waived(frozenset())).state == "failed"


def test_options_that_may_hide_findings_are_listed(small_run):
    """`min_precision = 1.0` in audit.toml, beside the data, hid a leak."""
    assert list(weakening(small_run)) == []
    record = read_json(small_run.path / "run.json")
    record["options"] = {"min_precision": 1.0, "source": {"split": "all", "kind": "auto"}, "checks": {"image_quality": {"nonsense": 1}}, "workers": 3}
    write_json(small_run.path / "run.json", record)
    (note,) = weakening(Run(small_run.path))
    assert note == ('the scan used options that may hide findings: checks.image_quality.nonsense = 1, min_precision = 1.0, source.split = "all"')
    json.dumps(note)


def test_reports_point_at_the_new_copy(small_run):
    from audit.gate.gate import _files

    findings = pd.DataFrame({"sample_id": ["old", "new", "old", None], "evidence": ['{"partner": "new"}', '{"partner": "old"}', "{}", "{}"]})
    before = pd.DataFrame({"sample_id": ["old"], "content_id": ["a"], "split": ["train"], "label": ["0"]})
    after = pd.concat([before, before.assign(sample_id="new", content_id="b")], ignore_index=True)
    assert _files(findings, changes(after, before))[:3].tolist() == ["new", "new", "old"]
    assert _files(findings, None)[:3].tolist() == ["old", "new", "old"]


def test_empty_lock_is_none_on_the_first_run(small_run, tmp_path, capsys):
    """`git show main:audit.lock > FILE` leaves an empty file if there is none."""
    (tmp_path / "audit.lock").touch()
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 99\n[changes]\nremoved = 0\n")
    words = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml"), "--since", str(tmp_path / "audit.lock")]
    assert invoke(words) == 2
    assert "is empty, so there is no accepted version yet; pass --first-run" in capsys.readouterr().err
    assert invoke([*words, "--first-run"]) == 0
    assert "not judged changes.removed: there is no baseline" in capsys.readouterr().out

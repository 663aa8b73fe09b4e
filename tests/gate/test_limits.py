"""No limit and no requirement passes because nothing was looked at: shares, classes among several labels, what was not listed, what did not run."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.diff.comparison import compare
from audit.diff.sample_changes import COLUMNS
from audit.gate.gate import judge
from audit.gate.lock import changes_since, pin, read_lock
from audit.gate.policy import read_policy
from audit.gate.waivers import Waived
from audit.io.artifacts import read_json, write_array, write_json, write_table
from audit.run.run import Run
from audit.tables import FINDINGS, SAMPLES

CHECKS = ("leakage", "integrity", "class_balance", "outliers", "conflicting_labels", "listing", "class_overlap", "label_errors", "faces")
NOT_LISTED = "pets.tar is truncated at byte 512 (unexpected end of data); the rest could not be listed; download it again."
NOTHING = ", and no rule of the policy could be judged"


@pytest.fixture
def gate(tmp_path):
    def held(run, rules, *, before=None, locked=None, first_run=False):
        (tmp_path / "policy.toml").write_text(rules)
        since = None
        if locked is not None:
            (tmp_path / "audit.lock").write_text(pin(locked))
            since = changes_since(read_lock(tmp_path / "audit.lock"), run.columns(*COLUMNS))
        difference = None if before is None else compare(before, run)
        policy, told = read_policy(tmp_path / "policy.toml", CHECKS), {"since": since, "lock": "audit.lock", "first_run": first_run}
        return judge(run, policy, Waived(frozenset()), difference, **told)

    return held


def told(gate):
    return {verdict.rule: (verdict.state, verdict.message) for verdict in gate.verdicts}


def rewritten(run, table, schema, change):
    """Write a table of a run anew, each row as `change` makes it, or without it where that is None; return the run as it is then."""
    path = run.path / table
    rows = [row for row in map(change, pq.read_table(path).to_pylist()) if row is not None]
    write_table(path, pa.Table.from_pylist(rows, schema))
    return Run(run.path)


def broken_off(run):
    """Let a part of the dataset not be listed."""
    row = {**dict.fromkeys(FINDINGS.names), "finding_id": "f9", "check": "listing", "kind": "not_listed", "subject": "dataset"}
    row |= {"severity": "error", "score": 1.0, "message": NOT_LISTED, "evidence": "{}"}
    write_table(run.path / "findings" / "listing.parquet", pa.Table.from_pylist([row], FINDINGS))
    record = read_json(run.path / "run.json")
    record["source"]["problems"] = [{"kind": "not_listed", "severity": "error", "message": NOT_LISTED, "evidence": {}}]
    record["checks"]["listing"] = {"state": "done", "reason": None, "findings": 1}
    write_json(run.path / "run.json", record)
    return Run(run.path)


def test_a_share_since_a_lock_is_one_of_the_images_that_changed(small_run, gate):
    """One new image that five old ones are copies of is one image of one, and not five."""
    names = small_run.columns("sample_id")["sample_id"].tolist()
    of, verified = iter([0, 1, 2, 3, 5]), json.dumps({"partner": names[4]})
    leaks = rewritten(
        small_run,
        "findings/leakage.parquet",
        FINDINGS,
        lambda row: row | {"sample_id": names[next(of)], "evidence": verified},
    )
    found = told(gate(leaks, "[limits]\nleakage.rate = 0.01\n", locked=small_run.columns(*COLUMNS).drop(index=4)))
    assert found["limits.leakage"] == ("failed", "1 of 1 images (100.00%, 5.00% to 100.00%), at most 1.00%")


def test_a_finding_on_an_image_without_a_score_is_in_its_share(small_run, gate):
    """Row 3 failed: its finding is about an image that the check gives no score."""
    assert told(gate(small_run, "[limits]\nintegrity.rate = 0.0"))["limits.integrity"][1].startswith("1 of 6 images")


def test_there_is_no_share_of_findings_about_classes_nor_of_no_images(small_run, gate):
    write_array(small_run.path / "scores" / "outliers.npy", np.full(6, np.nan, np.float32))
    found = told(gate(small_run, "[limits]\nclass_balance.rate = 0\noutliers.rate = 0\ntotal.rate = 0.9"))
    assert found["limits.class_balance"] == ("not judged", "1 finding about no one image, of which there is no share: limit their count")
    assert found["limits.outliers"] == ("not judged", "it applies to no image here, so that there is no share")
    assert found["limits.total"][1].endswith("; 1 finding more about no one image")
    both = told(gate(small_run, "[limits]\nclass_balance = { count = 0, rate = 0 }\noutliers = { count = 0, rate = 0 }"))
    assert [state for state, _ in both.values()] == ["failed", "passed"]


def test_a_class_is_that_of_images_with_several_labels_too(small_run, gate):
    several = rewritten(
        small_run, "samples.parquet", SAMPLES, lambda row: row | {"label": None, "labels": ["n1", "n2"]} if row["label"] == "n2" else row
    )
    several = rewritten(several, "findings/integrity.parquet", FINDINGS, lambda row: row | {"label": None})
    rules = "[limits]\nintegrity = { count = 0, rate = 0, class = 'n1' }\n[require]\nmin_per_class = 4\nclasses = ['n1', 'n2']"
    assert told(gate(several, rules)) == {
        "limits.integrity[class=n1]": ("failed", "1 finding, at most 0; 1 of 5 images (20.00%, 1.02% to 65.74%), at most 0.00%"),
        "require.min_per_class": ("failed", "1 class of fewer than 4 images: n2"),
        "require.classes": ("passed", "as declared"),
    }


def test_a_dataset_that_lost_its_labels_has_no_class_that_is_large_enough(small_run, gate):
    bare = rewritten(small_run, "samples.parquet", SAMPLES, lambda row: row | {"label": None})
    assert told(gate(bare, "[require]\nmin_per_class = 1")) == {"require.min_per_class": ("failed", "no image has a label")}


def test_what_could_not_be_listed_is_said_and_counts_as_new_against_a_run_and_since_a_lock(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    cut = broken_off(small_run)
    assert NOT_LISTED in gate(cut, "[limits]\nleakage = 9").notes
    assert NOT_LISTED not in gate(cut, "[require]\nreadable = true").notes  # that rule says it
    record = read_json(tmp_path / "before" / "run.json")
    record["checks"]["listing"] = {"state": "done", "reason": None, "findings": 0}
    write_json(tmp_path / "before" / "run.json", record)
    write_table(tmp_path / "before" / "findings" / "listing.parquet", pa.Table.from_pylist([], FINDINGS))
    assert told(gate(cut, "[new]\nlisting = 0", before=Run(tmp_path / "before")))["new.listing"] == ("failed", "1 finding, at most 0")
    assert told(gate(cut, "[limits]\nlisting = 0", locked=small_run.columns(*COLUMNS)))["limits.listing"] == ("failed", "1 finding, at most 0")


def test_a_new_finding_about_a_class_counts_where_images_changed_and_no_fit_brought_it(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    before = rewritten(Run(tmp_path / "before"), "findings/class_balance.parquet", FINDINGS, lambda row: None)
    rules = "[new]\nclass_balance = 0\n"
    assert told(gate(small_run, rules, before=before))["new.class_balance"] == (
        "passed",
        "1 new finding about no one image not counted: another fit may have brought them; 0 findings, at most 0",
    )
    before = rewritten(before, "samples.parquet", SAMPLES, lambda row: row | {"label": "n2"})
    assert told(gate(small_run, rules, before=before))["new.class_balance"] == ("failed", "1 finding, at most 0")


def test_limits_on_all_checks_say_which_did_not_run(small_run, gate):
    (note,) = gate(small_run, "[limits]\nerror = 9").notes
    assert note.startswith("limits on findings of all checks tell nothing of those that did not run: attributes,")
    assert "label_errors" in note
    assert "leakage" not in note
    assert not gate(small_run, "[limits]\nleakage = 9\nintegrity = 9").notes


def test_new_findings_of_all_checks_are_not_judged_where_some_cannot_be_compared(small_run, gate, tmp_path):
    """A baseline that knows less never makes a version pass."""
    shutil.copytree(small_run.path, tmp_path / "before")
    record = read_json(tmp_path / "before" / "run.json")
    del record["checks"]["leakage"]
    write_json(tmp_path / "before" / "run.json", record)
    found = told(gate(small_run, "[new]\ntotal = 0\nerror = 0\nleakage = 0", before=Run(tmp_path / "before")))
    assert found["new.total"] == ("not judged", "5 findings cannot be compared with the baseline")
    assert found["new.error"][0] == "passed"  # of leaks there are warnings alone
    assert found["new.leakage"] == ("not judged", "it did not run on the old version")


def test_another_model_hides_no_new_leak_of_identical_bytes_and_no_part_that_was_not_listed(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    before = broken_off(Run(tmp_path / "before"))
    write_table(before.path / "findings" / "listing.parquet", pa.Table.from_pylist([], FINDINGS))
    write_json(before.path / "run.json", before.record | {"backbone": {"name": "another"}})
    changed = rewritten(broken_off(small_run), "samples.parquet", SAMPLES, lambda row: row | {"content_id": row["content_id"][::-1]})
    changed = rewritten(
        changed, "findings/leakage.parquet", FINDINGS, lambda row: row | {"finding_id": f"x{row['finding_id']}", "kind": "identical_bytes"}
    )
    found = told(gate(changed, "[new]\nleakage = 4\nlisting = 0\nconflicting_labels = 0", before=Run(before.path)))
    assert found["new.leakage"] == ("failed", "5 findings, at most 4")
    assert found["new.listing"] == ("failed", "1 finding, at most 0")
    assert found["new.conflicting_labels"] == (
        "not judged",
        "its findings stand on two models; only identical_bytes and identical_pixels are compared",
    )


def left_out(run, **options):
    """Let the scan's options have left label_errors out."""
    record = read_json(run.path / "run.json")
    del record["checks"]["label_errors"]
    record["options"] |= options
    write_json(run.path / "run.json", record)
    return Run(run.path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"skip": ["label_errors"]}, "label_errors was left out of the scan by skip: take it out of skip in audit.toml (--skip)"),
        ({"only": ["leakage"]}, "label_errors was left out of the scan by only: add it to only in audit.toml (--only)"),
        ({}, "the run knows no label_errors, as of a version before there was that check: scan again"),
    ],
)
def test_a_limit_on_a_check_that_the_scan_left_out_is_unknown_though_others_pass(small_run, gate, options, said):
    """Whoever changes the dataset can change audit.toml beside it."""
    found = gate(left_out(small_run, **options), "[limits]\nlabel_errors = 0\n[new]\nlabel_errors = 0\n[require]\nmin_per_class = 1", first_run=True)
    assert {rule: state for rule, (state, _) in told(found).items()} == {
        "limits.label_errors": "unknown",
        "new.label_errors": "unknown",
        "require.min_per_class": "passed",
    }
    assert said in told(found)["limits.label_errors"][1]
    assert (found.outcome, found.exit_code) == ("unknown", 2)
    assert found.told() == "2 of 3 rules unknown"


def test_a_check_that_does_not_apply_is_not_judged_and_the_others_decide(small_run, gate):
    found = gate(small_run, "[limits]\nlabel_errors = 0\nleakage = 9")
    assert told(found)["limits.label_errors"] == ("not judged", "label_errors did not run: no predictions")
    assert found.exit_code == 0
    assert gate(small_run, "[limits]\nlabel_errors = 0\nleakage = 0").exit_code == 1


def test_a_version_of_which_no_rule_was_judged_does_not_pass(small_run, gate):
    found = gate(small_run, "[limits]\nlabel_errors = 0\n[new]\ntotal = 0\n[require]\nembedding_drift = 0.1")
    assert found.exit_code == 2
    assert told(found) == {
        "limits.label_errors": (
            "unknown",
            f"label_errors did not run: no predictions{NOTHING}: add one that can be, such as require.readable",
        ),
        **dict.fromkeys(
            ("new.total", "require.embedding_drift"),
            (
                "unknown",
                f"there is no baseline{NOTHING}: name one with --baseline, or add --first-run where there is none yet",
            ),
        ),
    }


def test_a_first_run_explains_rules_that_need_a_baseline_and_no_others(small_run, gate):
    rules = "[new]\ntotal = 0\n[require]\nembedding_drift = 0.1\n"
    assert gate(small_run, rules, first_run=True).exit_code == 0
    found = gate(small_run, rules + "[limits]\nlabel_errors = 0", first_run=True)
    assert found.exit_code == 2
    assert [state for state, _ in told(found).values()] == ["unknown", "not judged", "not judged"]


def test_where_nothing_changed_since_the_lock_a_version_passes(small_run, gate):
    rules = "[limits]\nleakage = 0\nerror.rate = 0\n[new]\ntotal = 0\n"
    assert gate(small_run, rules, locked=small_run.columns(*COLUMNS)).exit_code == 0


def test_a_scan_that_leaves_out_what_the_baselines_had_passes_no_limit_on_all_checks(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    record = read_json(small_run.path / "run.json")
    record["options"]["skip"] = ["leakage"]
    del record["checks"]["leakage"]
    write_json(small_run.path / "run.json", record)
    found = told(gate(Run(small_run.path), "[limits]\nerror = 9\nintegrity = 9\n[new]\ntotal = 0", before=Run(tmp_path / "before")))
    assert {rule: state for rule, (state, _) in found.items()} == {"limits.error": "unknown", "limits.integrity": "passed", "new.total": "unknown"}
    assert found["limits.error"][1].startswith("leakage was left out of the scan by skip: take it out of skip in audit.toml")
    assert found["limits.error"][1].endswith(", which the baseline's scan had")


def test_faces_that_were_not_looked_for_are_unknown(small_run, gate):
    record = read_json(small_run.path / "run.json")
    record["checks"]["faces"] = {"state": "skipped", "reason": "faces are looked for only when asked: scan with --faces", "findings": 0}
    write_json(small_run.path / "run.json", record)
    state, said = told(gate(Run(small_run.path), "[limits]\nleakage = 9\nfaces = 0"))["limits.faces"]
    assert (state, said.partition(":")[0]) == ("unknown", "faces were not looked for")


def test_a_version_none_of_whose_images_can_be_read_passes_no_limit_by_having_no_findings(small_run, gate):
    record = read_json(small_run.path / "run.json")
    record["counts"] |= {"scanned": 0, "failed": 6}
    write_json(small_run.path / "run.json", record)
    found = told(gate(Run(small_run.path), "[limits]\noutliers = 0\nintegrity = 9\ntotal = 9"))
    assert [state for state, _ in found.values()] == ["unknown", "passed", "passed"]
    assert found["limits.outliers"][1] == "no image could be read, so that outliers has looked at none: see the findings of integrity"


def test_images_that_could_not_be_read_are_told_where_no_rule_looks_at_them(small_run, gate):
    said = "1 of 6 images could not be read, and no rule looks at them: require readable, or limit integrity"
    assert said in gate(small_run, "[limits]\nleakage = 9").notes
    for rules in ("[limits]\nleakage = 9\nintegrity = 9", "[limits]\nerror = 9", "[limits]\nleakage = 9\n[require]\nreadable = true"):
        assert said not in gate(small_run, rules).notes


def test_findings_of_no_split_are_told_where_a_limit_counts_one_split(small_run, gate):
    """A limit on a split can never count what a check finds of a class or of the whole dataset."""
    rules = "[limits]\nclass_balance = { count = 0, split = 'train' }\nintegrity = { count = 1, split = 'train', kind = 'truncated' }"
    found = told(gate(small_run, rules))
    assert found["limits.class_balance[split=train]"] == ("passed", "1 finding of no split not counted; 0 findings, at most 0")
    assert found["limits.integrity[kind=truncated][split=train]"] == ("passed", "1 finding, at most 1")

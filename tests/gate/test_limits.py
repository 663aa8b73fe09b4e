"""No rule passes because data is missing: rates, multi-label classes, unlisted files, checks that did not run."""

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
OPTIONAL = "; if this is expected, add optional = true to the limit"
NOTHING = ", and no rule of the policy could be judged"


@pytest.fixture
def gate(tmp_path):
    def checked(run, rules, *, before=None, locked=None, first_run=False):
        (tmp_path / "policy.toml").write_text(rules)
        since = None
        if locked is not None:
            (tmp_path / "audit.lock").write_text(pin(locked))
            since = changes_since(read_lock(tmp_path / "audit.lock"), run.columns(*COLUMNS))
        difference = None if before is None else compare(before, run)
        policy = read_policy(tmp_path / "policy.toml", CHECKS)
        return judge(run, policy, Waived(frozenset()), difference, since=since, lock="audit.lock", first_run=first_run)

    return checked


def results(gate):
    return {verdict.rule: (verdict.state, verdict.message) for verdict in gate.verdicts}


def rewritten(run, table, schema, change):
    """Rewrite a table of a run with `change` applied to each row, dropping rows for which it returns None; return the changed run."""
    path = run.path / table
    rows = [row for row in map(change, pq.read_table(path).to_pylist()) if row is not None]
    write_table(path, pa.Table.from_pylist(rows, schema))
    return Run(run.path)


def partly_unlisted(run):
    """Add a listing problem: part of the dataset could not be listed."""
    row = {**dict.fromkeys(FINDINGS.names), "finding_id": "f9", "check": "listing", "kind": "not_listed", "subject": "dataset"}
    row |= {"severity": "error", "score": 1.0, "message": NOT_LISTED, "evidence": "{}"}
    write_table(run.path / "findings" / "listing.parquet", pa.Table.from_pylist([row], FINDINGS))
    record = read_json(run.path / "run.json")
    record["source"]["problems"] = [{"kind": "not_listed", "severity": "error", "message": NOT_LISTED, "evidence": {}}]
    record["checks"]["listing"] = {"state": "done", "reason": None, "findings": 1}
    write_json(run.path / "run.json", record)
    return Run(run.path)


def test_rate_since_a_lock_is_a_share_of_the_changed_images(small_run, gate):
    """One new image with five old copies counts as one of one image, not as five."""
    names = small_run.columns("sample_id")["sample_id"].tolist()
    of, verified = iter([0, 1, 2, 3, 5]), json.dumps({"partner": names[4]})
    leaks = rewritten(
        small_run,
        "findings/leakage.parquet",
        FINDINGS,
        lambda row: row | {"sample_id": names[next(of)], "evidence": verified},
    )
    found = results(gate(leaks, "[limits]\nleakage.rate = 0.01\n", locked=small_run.columns(*COLUMNS).drop(index=4)))
    assert found["limits.leakage"] == ("failed", "1 of 1 images (100.00%, 5.00% to 100.00%), limit 1.00%")


def test_finding_about_an_image_without_a_score_counts_in_the_rate(small_run, gate):
    """Row 3 failed: its finding is about an image that has no score."""
    assert results(gate(small_run, "[limits]\nintegrity.rate = 0.0"))["limits.integrity"][1].startswith("1 of 6 images")


def test_rate_is_undefined_for_class_findings_and_without_images(small_run, gate):
    write_array(small_run.path / "scores" / "outliers.npy", np.full(6, np.nan, np.float32))
    found = results(gate(small_run, "[limits]\nclass_balance.rate = 0\noutliers.rate = 0\ntotal.rate = 0.9"))
    assert found["limits.class_balance"] == (
        "unknown",
        f"1 finding is not about single images, so a rate is undefined; limit their `count` instead{OPTIONAL}",
    )
    assert found["limits.outliers"] == ("unknown", f"outliers applies to no image of this dataset, so a rate is undefined{OPTIONAL}")
    assert found["limits.total"][1].endswith("; 1 more finding not about single images")
    both = results(gate(small_run, "[limits]\nclass_balance = { count = 0, rate = 0 }\noutliers = { count = 0, rate = 0 }"))
    assert [state for state, _ in both.values()] == ["failed", "passed"]


def test_class_scope_includes_multi_label_images(small_run, gate):
    several = rewritten(
        small_run, "samples.parquet", SAMPLES, lambda row: row | {"label": None, "labels": ["n1", "n2"]} if row["label"] == "n2" else row
    )
    several = rewritten(several, "findings/integrity.parquet", FINDINGS, lambda row: row | {"label": None})
    rules = "[limits]\nintegrity = { count = 0, rate = 0, class = 'n1' }\n[require]\nmin_per_class = 4\nclasses = ['n1', 'n2']"
    assert results(gate(several, rules)) == {
        "limits.integrity[class=n1]": ("failed", "1 finding, limit 0; 1 of 5 images (20.00%, 1.02% to 65.74%), limit 0.00%"),
        "require.min_per_class": ("failed", "1 class with fewer than 4 images: n2"),
        "require.classes": ("passed", "as required"),
    }


def test_min_per_class_fails_without_labels(small_run, gate):
    bare = rewritten(small_run, "samples.parquet", SAMPLES, lambda row: row | {"label": None})
    assert results(gate(bare, "[require]\nmin_per_class = 1")) == {"require.min_per_class": ("failed", "no image has a label")}


def test_unlisted_files_are_noted_and_count_as_new(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    cut = partly_unlisted(small_run)
    assert NOT_LISTED in gate(cut, "[limits]\nleakage = 9").notes
    assert NOT_LISTED not in gate(cut, "[require]\nreadable = true").notes  # the rule's message names them
    record = read_json(tmp_path / "before" / "run.json")
    record["checks"]["listing"] = {"state": "done", "reason": None, "findings": 0}
    write_json(tmp_path / "before" / "run.json", record)
    write_table(tmp_path / "before" / "findings" / "listing.parquet", pa.Table.from_pylist([], FINDINGS))
    assert results(gate(cut, "[new]\nlisting = 0", before=Run(tmp_path / "before")))["new.listing"] == ("failed", "1 finding, limit 0")
    assert results(gate(cut, "[limits]\nlisting = 0", locked=small_run.columns(*COLUMNS)))["limits.listing"] == ("failed", "1 finding, limit 0")


def test_new_class_finding_counts_only_if_images_changed(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    before = rewritten(Run(tmp_path / "before"), "findings/class_balance.parquet", FINDINGS, lambda row: None)
    rules = "[new]\nclass_balance = 0\n"
    assert results(gate(small_run, rules, before=before))["new.class_balance"] == (
        "passed",
        "not counted: 1 new finding not about single images, possibly caused by refitted models; 0 findings, limit 0",
    )
    before = rewritten(before, "samples.parquet", SAMPLES, lambda row: row | {"label": "n2"})
    assert results(gate(small_run, rules, before=before))["new.class_balance"] == ("failed", "1 finding, limit 0")


def test_limits_on_all_checks_name_checks_that_did_not_run(small_run, gate):
    (note,) = gate(small_run, "[limits]\nerror = 9").notes
    assert note.startswith("limits on all checks do not cover checks that did not run: attributes,")
    assert "label_errors" in note
    assert "leakage" not in note
    assert not gate(small_run, "[limits]\nleakage = 9\nintegrity = 9").notes


def test_new_total_is_not_judged_if_a_check_cannot_be_compared(small_run, gate, tmp_path):
    """A baseline with fewer checks never makes a version pass."""
    shutil.copytree(small_run.path, tmp_path / "before")
    record = read_json(tmp_path / "before" / "run.json")
    del record["checks"]["leakage"]
    write_json(tmp_path / "before" / "run.json", record)
    found = results(gate(small_run, "[new]\ntotal = 0\nerror = 0\nleakage = 0", before=Run(tmp_path / "before")))
    assert found["new.total"] == ("unknown", f"5 findings cannot be compared with the baseline{OPTIONAL}")
    assert found["new.error"][0] == "passed"  # leakage has warnings only
    assert found["new.leakage"] == ("unknown", f"did not run on the old version{OPTIONAL}")


def test_another_model_hides_neither_identical_bytes_nor_unlisted_files(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    before = partly_unlisted(Run(tmp_path / "before"))
    write_table(before.path / "findings" / "listing.parquet", pa.Table.from_pylist([], FINDINGS))
    write_json(before.path / "run.json", before.record | {"backbone": {"name": "another"}})
    changed = rewritten(partly_unlisted(small_run), "samples.parquet", SAMPLES, lambda row: row | {"content_id": row["content_id"][::-1]})
    changed = rewritten(
        changed, "findings/leakage.parquet", FINDINGS, lambda row: row | {"finding_id": f"x{row['finding_id']}", "kind": "identical_bytes"}
    )
    found = results(gate(changed, "[new]\nleakage = 4\nlisting = 0\nconflicting_labels = 0", before=Run(before.path)))
    assert found["new.leakage"] == ("failed", "5 findings, limit 4")
    assert found["new.listing"] == ("failed", "1 finding, limit 0")
    assert found["new.conflicting_labels"] == (
        "unknown",
        f"its findings come from two models; only identical_bytes and identical_pixels are compared{OPTIONAL}",
    )


def without_label_errors(run, **options):
    """Remove label_errors from the run, as if the scan's options had excluded it."""
    record = read_json(run.path / "run.json")
    del record["checks"]["label_errors"]
    record["options"] |= options
    write_json(run.path / "run.json", record)
    return Run(run.path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"skip": ["label_errors"]}, "the scan skipped label_errors: remove it from skip in audit.toml (--skip)"),
        ({"only": ["leakage"]}, "the scan did not include label_errors: add it to only in audit.toml (--only)"),
        ({}, "the run was made by a version without the check label_errors: scan again"),
    ],
)
def test_limit_on_an_excluded_check_is_unknown(small_run, gate, options, reason):
    """A change of the dataset can also change audit.toml beside it."""
    found = gate(
        without_label_errors(small_run, **options),
        "[limits]\nlabel_errors = 0\n[new]\nlabel_errors = 0\n[require]\nmin_per_class = 1",
        first_run=True,
    )
    assert {rule: state for rule, (state, _) in results(found).items()} == {
        "limits.label_errors": "unknown",
        "new.label_errors": "unknown",
        "require.min_per_class": "passed",
    }
    assert reason in results(found)["limits.label_errors"][1]
    assert (found.outcome, found.exit_code) == ("unknown", 2)
    assert found.summary() == "2 of 3 rules unknown"


def test_limit_on_a_check_that_did_not_run_is_unknown_unless_optional(small_run, gate):
    """`[source] split` in audit.toml, beside the data, turned `leakage = 0` into a rule that was not judged, with exit code 0."""
    found = gate(small_run, "[limits]\nlabel_errors = 0\nleakage = 9")
    assert results(found)["limits.label_errors"] == ("unknown", f"label_errors did not run: no predictions{OPTIONAL}")
    assert found.exit_code == 2
    assert gate(small_run, "[limits]\nlabel_errors = 0\nleakage = 0").exit_code == 1
    found = gate(small_run, "[limits]\nlabel_errors = { count = 0, optional = true }\nleakage = 9")
    assert results(found)["limits.label_errors"] == ("not judged", "label_errors did not run: no predictions")
    assert found.exit_code == 0


def test_does_not_pass_if_no_rule_was_judged(small_run, gate):
    found = gate(small_run, "[limits]\nlabel_errors = 0\n[new]\ntotal = 0\n[require]\nembedding_drift = 0.1")
    assert found.exit_code == 2
    assert results(found) == {
        "limits.label_errors": (
            "unknown",
            f"label_errors did not run: no predictions{OPTIONAL}",
        ),
        **dict.fromkeys(
            ("new.total", "require.embedding_drift"),
            (
                "unknown",
                f"there is no baseline{NOTHING}: pass --baseline, or --first-run if there is none yet",
            ),
        ),
    }


def test_first_run_excuses_only_rules_that_need_a_baseline(small_run, gate):
    rules = "[new]\ntotal = 0\n[require]\nembedding_drift = 0.1\n"
    assert gate(small_run, rules, first_run=True).exit_code == 0
    found = gate(small_run, rules + "[limits]\nlabel_errors = 0", first_run=True)
    assert found.exit_code == 2
    assert [state for state, _ in results(found).values()] == ["unknown", "not judged", "not judged"]


def test_passes_if_nothing_changed_since_the_lock(small_run, gate):
    rules = "[limits]\nleakage = 0\nerror.rate = 0\n[new]\ntotal = 0\n"
    assert gate(small_run, rules, locked=small_run.columns(*COLUMNS)).exit_code == 0


def test_total_limit_is_unknown_if_a_check_of_the_baseline_was_excluded(small_run, gate, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "before")
    record = read_json(small_run.path / "run.json")
    record["options"]["skip"] = ["leakage"]
    del record["checks"]["leakage"]
    write_json(small_run.path / "run.json", record)
    found = results(gate(Run(small_run.path), "[limits]\nerror = 9\nintegrity = 9\n[new]\ntotal = 0", before=Run(tmp_path / "before")))
    assert {rule: state for rule, (state, _) in found.items()} == {"limits.error": "unknown", "limits.integrity": "passed", "new.total": "unknown"}
    assert found["limits.error"][1].startswith("the scan skipped leakage: remove it from skip in audit.toml")
    assert found["limits.error"][1].endswith("; the baseline's scan included it")


def test_limit_on_faces_is_unknown_without_face_detection(small_run, gate):
    record = read_json(small_run.path / "run.json")
    record["checks"]["faces"] = {"state": "skipped", "reason": "faces are not detected by default: scan with --faces", "findings": 0}
    write_json(small_run.path / "run.json", record)
    state, message = results(gate(Run(small_run.path), "[limits]\nleakage = 9\nfaces = 0"))["limits.faces"]
    assert (state, message.partition(":")[0]) == ("unknown", "face detection was off")


def test_limit_is_unknown_if_no_image_could_be_read(small_run, gate):
    record = read_json(small_run.path / "run.json")
    record["counts"] |= {"scanned": 0, "failed": 6}
    write_json(small_run.path / "run.json", record)
    found = results(gate(Run(small_run.path), "[limits]\noutliers = 0\nintegrity = 9\ntotal = 9"))
    assert [state for state, _ in found.values()] == ["unknown", "passed", "passed"]
    assert found["limits.outliers"][1] == "no image could be read, so outliers examined none: see the findings of integrity"


def test_unreadable_images_that_no_rule_covers_are_noted(small_run, gate):
    note = "1 of 6 images could not be read, and no rule covers them: add require.readable or a limit on integrity"
    assert note in gate(small_run, "[limits]\nleakage = 9").notes
    for rules in ("[limits]\nleakage = 9\nintegrity = 9", "[limits]\nerror = 9", "[limits]\nleakage = 9\n[require]\nreadable = true"):
        assert note not in gate(small_run, rules).notes


def test_limit_on_a_split_reports_findings_without_a_split(small_run, gate):
    """Findings about a class or the whole dataset have no split."""
    rules = "[limits]\nclass_balance = { count = 0, split = 'train' }\nintegrity = { count = 1, split = 'train', kind = 'truncated' }"
    found = results(gate(small_run, rules))
    assert found["limits.class_balance[split=train]"] == ("passed", "not counted: 1 finding without a split; 0 findings, limit 0")
    assert found["limits.integrity[kind=truncated][split=train]"] == ("passed", "1 finding, limit 1")


def test_limits_count_findings_and_not_issues(small_run, gate):
    leaks = small_run.issues[small_run.issues["check"] == "leakage"]
    assert leaks["findings"].tolist() == [5]  # reported as one
    checked = gate(small_run, "[limits]\nleakage = 4\nintegrity.rate = 0.99\n")
    (failed,) = checked.failed
    assert failed.message == "5 findings, limit 4"
    assert len(failed.findings) == 5

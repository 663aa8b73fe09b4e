"""A JSON report as the baseline, instead of the previous version's run."""

import json

import pytest

from audit import cli
from audit.diff.comparison import compare_findings
from audit.errors import ConfigError
from audit.gate.baseline import FORMAT_VERSION, read_findings
from reports import json as json_report

POLICY = "[new]\nleakage = 0\ntotal = 0\n\n[require]\nembedding_drift = 0.1\n"


@pytest.fixture
def report(small_run, tmp_path):
    path = tmp_path / "before.json"
    path.write_text(json_report.render(small_run))
    return path


def edited(path, **more):
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | more))
    return document


def check(run, report, tmp_path, *more):
    (tmp_path / "policy.toml").write_text(POLICY)
    return cli.invoke(["check", str(run.path), "--policy", str(tmp_path / "policy.toml"), "--baseline", str(report), *more])


def test_report_of_the_same_version_has_no_new_findings(small_run, report, tmp_path, capsys):
    assert json_report.FORMAT_VERSION == FORMAT_VERSION
    assert set(compare_findings(read_findings(report), small_run).findings["state"]) == {"persisting"}
    assert check(small_run, report, tmp_path, "--json") == 0
    rules = {verdict["rule"]: verdict for verdict in json.loads(capsys.readouterr().out)["verdicts"]}
    assert rules["new.total"]["state"] == "passed"
    assert rules["require.embedding_drift"]["message"] == "the baseline is a report, which has no image data"


def test_new_and_fixed_findings_against_a_report(small_run, report, tmp_path, capsys):
    document = edited(report)
    gone = next(row for row in document["findings"] if row["check"] == "leakage")
    others = [row for row in document["findings"] if row is not gone]
    once = {**gone, "finding_id": "0123456789abcdef", "check": "integrity", "content_id": "f" * 64, "evidence": {}}
    edited(report, findings=[*others, once])
    assert check(small_run, report, tmp_path) == 0, "no image changed, so refitted models caused the new finding"
    edited(report, lock=None)  # as in reports of version 0.1.0, which do not list the images
    states = compare_findings(read_findings(report), small_run).findings.set_index("finding_id")["state"]
    assert (states[gone["finding_id"]], states["0123456789abcdef"]) == ("new", "fixed")
    assert check(small_run, report, tmp_path, "--report", "markdown=-") == 1
    printed = capsys.readouterr().out
    assert "Fixed since the baseline" in printed
    assert gone["finding_id"] in printed


def test_loss_of_images_since_a_report(small_run, report, tmp_path, capsys):
    lock = edited(report)["lock"]
    more = lock.rstrip("\n") + "\n" + "A" * 22 + "\n"
    edited(report, lock=more)
    (tmp_path / "policy.toml").write_text("[changes]\nremoved = 0\n")
    words = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml"), "--baseline", str(report)]
    assert cli.invoke(words) == 1
    assert "changes.removed: removed: 1 of 7" in capsys.readouterr().out
    edited(report, lock=lock)
    assert cli.invoke(words) == 0


def test_reports_another_model_and_a_missing_check(small_run, report):
    run = edited(report)["run"]
    run["backbone"]["name"] = "another"
    del run["checks"]["integrity"]
    edited(report, run=run)
    found = compare_findings(read_findings(report), small_run)
    assert found.not_compared["integrity"] == "did not run on the old version"
    assert "another" in found.warnings[0]
    assert not found.findings["check"].isin(["integrity", "outliers"]).any()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "is not valid JSON"), ("[]", "'findings' or 'run' is missing"), ('{"findings": [{}], "run": {}}', "finding 0 has no 'finding_id'")],
)
def test_refuses_files_that_are_not_reports(tmp_path, text, problem):
    (tmp_path / "before.json").write_text(text)
    with pytest.raises(ConfigError, match=r"before\.json: .*" + problem + ".*; write it with"):
        read_findings(tmp_path / "before.json")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"format_version": 2}, "before.json: was written by a newer version; update imagenet-audit"),
        ({"run": {"schema_version": 99}}, "before.json: was written by a newer version; update imagenet-audit"),
        ({"run": {"checks": []}}, "before.json: corrupt: in its 'run', checks is not an object"),
        ({"run": {"checks": {"leakage": {"state": "unknown", "findings": 0}}}}, "checks.leakage.state is not one of done, skipped"),
    ],
)
def test_refuses_newer_and_corrupt_reports(small_run, report, tmp_path, capsys, more, problem):
    edited(report, **more)
    assert check(small_run, report, tmp_path) == 2
    assert problem in capsys.readouterr().err

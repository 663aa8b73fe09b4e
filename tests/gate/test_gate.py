"""The gate: policies, waivers and verdicts, and one-line errors that name file and line."""

import dataclasses
import json
import shutil
from datetime import date

import numpy as np
import pytest

from audit import cli
from audit.checks import discover
from audit.diff.comparison import compare
from audit.errors import ConfigError
from audit.gate.gate import judge
from audit.gate.limits import rate_interval
from audit.gate.policy import STARTER, read_policy
from audit.gate.text import lines
from audit.gate.waivers import Waived, Waiver, apply_waivers, kept, read_waivers
from audit.io.toml_lines import lines_of_keys
from audit.review.decisions import Decisions, decide, latest
from audit.run.run import Run

CHECKS = ("leakage", "label_errors", "integrity", "conflicting_labels", "class_balance", "outliers")


def policy(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return read_policy(path, CHECKS)


def verdicts(run, rules, waived=(), difference=None):
    gate = judge(run, rules, Waived(frozenset(waived)), difference)
    return {verdict.rule: verdict.state for verdict in gate.verdicts}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nleekage = 0", "policy.toml:2: limits.leekage: unknown check or key 'leekage'; did you mean 'leakage'?"),
        ("\n[limit]\nleakage = 0", "policy.toml:2: limit: unknown key 'limit'; did you mean 'limits'?"),
        ("[limits]\nleakage = 0\nlabel_errors.rat = 0.1", "policy.toml:3: limits.label_errors.rat: unknown key 'rat'; did you mean 'rate'?"),
        ("[limits]\nlabel_errors = { rate = 3 }", "policy.toml:2: limits.label_errors.rate: 3 is not a share; use a number from 0 to 1"),
        ("[limits]\nleakage = -1", "policy.toml:2: limits.leakage.count: -1 is not a number of findings"),
        ("[limits]\nleakage = true", "policy.toml:2: limits.leakage.count: True is not a number of findings"),
        ("[limits]\nleakage = {split = 'val'}", "policy.toml:2: limits.leakage: sets no limit; add count or rate"),
        ("[require]\nreadable = 1", "policy.toml:2: require.readable: 1 is not true or false"),
        ("confidence = 2", "policy.toml:1: confidence: 2 is not a valid confidence"),
        ("[limits]\n[[limits.leakage]]\ncount = 1\nsevrity = 'error'", "policy.toml:4: limits.leakage.sevrity: unknown key 'sevrity'"),
        (
            "[[limits.leakage]]\ncount = 1\n[[limits.leakage]]\nkind = 'identical_bytes'\ncuont = 1",
            "policy.toml:5: limits.leakage.cuont: unknown key",
        ),
        ("[limits]\nleakage = []\nerror = 0", "policy.toml:2: limits.leakage: sets no limit; add count or rate"),
        ("[[limits.error]]\ncount = 0\nseverity = 'info'", "policy.toml:3: limits.error.severity: 'info' contradicts 'error'; omit it"),
        ("[limits]\nleakage.rate = 1.0", "policy.toml:2: limits.leakage.rate: a share of 1 allows every version; use a smaller share"),
        ("[require]\nreadable = false", "policy.toml:2: require.readable: False allows every version; omit the key, or require something"),
        ("[require]\nmin_per_class = 0", "policy.toml:2: require.min_per_class: 0 allows every version"),
        ("[require]\nmin_per_split = { val = 0 }", "policy.toml:2: require.min_per_split.val: 0 allows every version"),
        ("[require]\nclass_balance_drift = 1", "policy.toml:2: require.class_balance_drift: 1 allows every version"),
        ("[changes]\nlost = 0", "policy.toml:2: changes.lost: unknown check or key 'lost'"),
        ("[changes]\nremoved = { rate = 0.1, per = 'image' }", "policy.toml:2: changes.removed.per: 'image' is not a unit; use split or class"),
        ("[changes]\nremoved = { count = 0, kind = 'x' }", "policy.toml:2: changes.removed.kind: unknown key 'kind'"),
        ("[limits]\nleakage = { count = 0, optional = 1 }", "policy.toml:2: limits.leakage.optional: 1 is not true or false"),
        ("[require]\nembedding_drift = nan", "policy.toml:2: require.embedding_drift: nan is not a valid limit; use a finite number"),
        ("[require]\nclass_balance_drift = inf", "policy.toml:2: require.class_balance_drift: inf is not a valid limit; use a finite number"),
        ("[require]\nmin_per_class = -1", "policy.toml:2: require.min_per_class: -1 is not a valid limit; use a finite number"),
        ("[require]\nclasses = [1]", "policy.toml:2: require.classes: 1 is not text; use text"),
        ("[limits\n", "policy.toml: not TOML: "),
        ("# [limits]\n", "policy.toml: contains no rules; write a starter policy with: imagenet-audit init"),
    ],
)
def test_policy_errors_name_line_and_key(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        policy(tmp_path, text)
    assert message in str(caught.value)


def test_byte_order_mark_is_ignored(tmp_path):
    assert policy(tmp_path, "\ufeff[limits]\nleakage = 0\n").limits[0].line == 2
    (tmp_path / "waivers.toml").write_text('\ufeff[[waiver]]\nfinding = "f1"\nowner = "a team"\nreason = "kept"\n')
    assert [waiver.where for waiver in read_waivers(tmp_path / "waivers.toml")] == [f"{tmp_path / 'waivers.toml'}:1"]


def test_starter_policy_is_valid(tmp_path):
    assert [limit.name for limit in policy(tmp_path, STARTER).limits if limit.new] == ["new.error"]
    assert lines_of_keys("a = [\n 1,\n]\n[b]\nc.d = 2\n")[("b", "c", "d")] == 5


def test_limits_count_findings_in_their_scope(small_run, tmp_path):
    rules = policy(
        tmp_path,
        "[limits]\nleakage = 4\nintegrity = 1\nerror = 1\ntotal = 8\nlabel_errors = { count = 0, optional = true }\n"
        "[[limits.conflicting_labels]]\ncount = 0\nclass = 'n1'\n[[limits.conflicting_labels]]\ncount = 0\nsplit = 'val'\n",
    )
    assert verdicts(small_run, rules) == {
        "limits.leakage": "failed",
        "limits.integrity": "passed",
        "limits.error": "failed",
        "limits.total": "passed",
        "limits.label_errors": "not judged",
        "limits.conflicting_labels[class=n1]": "failed",
        "limits.conflicting_labels[split=val]": "passed",
    }
    assert verdicts(small_run, rules, waived=["f1", "f3"])["limits.leakage"] == "passed"
    assert verdicts(small_run, rules, waived=["f1", "f3"])["limits.error"] == "passed"


def test_rate_fails_only_if_significantly_above_its_limit(small_run, tmp_path):
    assert verdicts(small_run, policy(tmp_path, "[limits]\nleakage.rate = 0.1"))["limits.leakage"] == "passed"  # 1 of 5 images
    assert verdicts(small_run, policy(tmp_path, "[limits]\nleakage.rate = 0.01"))["limits.leakage"] == "failed"
    assert rate_interval(1, 5, 0.95) == pytest.approx((0.0102, 0.6574), abs=1e-4)
    assert rate_interval(0, 59, 0.95) == pytest.approx((0, 0.0495), abs=1e-4)  # about three in n


def test_flagged_image_without_a_score_counts_in_the_rate(small_run, tmp_path):
    path = small_run.path / "scores" / "leakage.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    gate = judge(Run(small_run.path), policy(tmp_path, "[limits]\nleakage.rate = 0.01"), Waived(frozenset()), None)
    assert [(verdict.state, verdict.message) for verdict in gate.verdicts] == [
        ("failed", "1 of 1 images (100.00%, 5.00% to 100.00%), limit 1.00%"),
    ]


def test_requirements(small_run, tmp_path):
    text = "[require]\nreadable = true\nclasses = ['n1', 'n2']\nsplits = ['train']\nmin_per_class = 3\nembedding_drift = 0.1\n"
    found = verdicts(small_run, policy(tmp_path, text))
    assert list(found.values()) == ["failed", "passed", "failed", "failed", "not judged"]


def test_nothing_is_new_between_identical_runs(small_run, tmp_path):
    rules = policy(tmp_path, "[new]\ntotal = 0\n[require]\nembedding_drift = 0.0\nclass_balance_drift = 0.0\n")
    assert set(verdicts(small_run, rules, difference=compare(small_run, small_run)).values()) == {"passed"}
    assert verdicts(small_run, rules)["new.total"] == "unknown"  # and no rule was judged


def test_expired_and_unmatched_waivers(tmp_path):
    path = tmp_path / "waivers.toml"
    path.write_text('[[waiver]]\nfinding = "f1"\nowner = "data team"\nreason = "a stereo pair"\nexpires = 2030-01-31\n')
    waivers = [*read_waivers(path), Waiver("gone", "data team", "fixed since")]
    assert apply_waivers(waivers, ["f1", "f2"], date(2030, 1, 31)).ids == {"f1"}
    late = apply_waivers(waivers, ["f1", "f2"], date(2030, 2, 1))
    assert (late.ids, [waiver.finding for waiver in late.expired]) == (frozenset(), ["f1"])
    assert [waiver.finding for waiver in late.unmatched] == ["gone"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[waiver]]\nfinding = 'f1'\nowner = 'me'\n", "waiver 1: has no reason"),
        ("[[waiver]]\nfinding = 'f1'\nowner = 'me'\nreason = 'x'\nexpire = 2030-01-01\n", "did you mean 'expires'?"),
        ("[[waiver]]\nfinding = 'f1'\nowner = 'me'\nreason = 'x'\nexpires = '2030'\n", "is not a date"),
        ("[waivers]\n", "something other than"),
        ("waiver = [1]\n", "something other than"),
        ("[[waiver]]\nfinding = 'f1'\nowner = 'me'\nreason = 'x'\n\n[[waiver]]\nfinding = 'f2'\n", "waivers.toml:6: waiver 2: has no owner"),
    ],
)
def test_refuses_invalid_waivers(tmp_path, text, message):
    (tmp_path / "waivers.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"waivers\.toml") as caught:
        read_waivers(tmp_path / "waivers.toml")
    assert message in str(caught.value)


def test_exit_codes_and_keep_decisions(small_run, tmp_path, capsys):
    run, file = str(small_run.path), tmp_path / "policy.toml"
    file.write_text("[limits]\nconflicting_labels = 0\n[new]\ntotal = 0\n")
    assert cli.invoke(["check", run, "--policy", str(file), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [verdict["state"] for verdict in shown["verdicts"]] == ["failed", "not judged"]
    assert shown["verdicts"][0]["findings"] == ("f1",) or shown["verdicts"][0]["findings"] == ["f1"]
    assert cli.invoke(["check", run, "--policy", str(file), "--baseline", str(tmp_path / "none")]) == 2
    assert "--first-run" in capsys.readouterr().err
    assert cli.invoke(["check", run, "--policy", str(file), "--baseline", str(tmp_path / "none"), "--first-run"]) == 1
    assert f"baseline {tmp_path / 'none'} does not exist yet: rules that need one are not judged" in capsys.readouterr().err
    findings = Run(small_run.path).findings
    Decisions(small_run.path).append(decide(small_run, findings[findings["finding_id"] == "f1"], "keep", reviewer="a reviewer"))
    shutil.copytree(run, tmp_path / "before")
    assert cli.invoke(["check", run, "--policy", str(file), "--baseline", str(tmp_path / "before")]) == 0
    assert "1 finding waived" in capsys.readouterr().out
    assert cli.invoke(["check", run, "--policy", str(tmp_path / "no.toml")]) == 2


@pytest.mark.parametrize("asked", [("run",), ("data", "--out", "run"), ("data", "--out", "run", "--first-run")])
def test_refuses_the_run_as_its_own_baseline(small_run, tmp_path, capsys, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text("[new]\ntotal = 0\n")
    (tmp_path / "link").symlink_to(small_run.path)
    assert cli.invoke(["check", *asked, "--policy", "policy.toml", "--baseline", "link"]) == 2
    assert "link: is the checked run itself, so nothing would be new" in capsys.readouterr().err


def test_refuses_out_for_a_run(small_run, tmp_path, capsys):
    """A change could add bad images together with a clean run of other images."""
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 100\n")
    asked = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml")]
    assert cli.invoke(asked) == 0
    assert cli.invoke([*asked, "--out", str(tmp_path / "scanned")]) == 2
    assert "is already a run, so nothing would be scanned" in capsys.readouterr().err


def test_uses_decisions_of_the_baseline_and_of_a_file(small_run, tmp_path, capsys):
    file, old = tmp_path / "policy.toml", tmp_path / "old"
    file.write_text("[limits]\nconflicting_labels = 0\nintegrity = 0\n")
    shutil.copytree(small_run.path, old)
    asked = ["check", str(small_run.path), "--policy", str(file)]
    findings = small_run.findings
    Decisions(old).append(decide(Run(old), findings[findings["finding_id"] == "f1"], "keep", reviewer="a reviewer"))
    assert cli.invoke([*asked, "--baseline", str(old)]) == 1
    assert "passed     limits.conflicting_labels" in capsys.readouterr().out
    sheet = tmp_path / "decided.csv"
    sheet.write_text("verdict,reviewer,finding_id\nkeep,a reviewer,f2\n")
    assert cli.invoke([*asked, "--baseline", str(old), "--decisions", str(sheet)]) == 0
    sheet.write_text("verdict,reviewer,finding_id\nkept,a reviewer,f2\n")
    assert cli.invoke([*asked, "--decisions", str(sheet)]) == 2
    assert "decided.csv" in capsys.readouterr().err


def test_keep_survives_a_new_kind_but_not_another_partner_label_or_verdict(small_run):
    findings = small_run.findings

    def waived(found, *verdicts, **other):
        decisions = [
            dataclasses.replace(decide(small_run, findings[findings["finding_id"] == "f3"], verdict, reviewer=f"r{at}", label="n1")[0], **other)
            for at, verdict in enumerate(verdicts)
        ]
        return kept(latest(decisions), found)

    other = findings.assign(finding_id="x" + findings["finding_id"])
    renumbered = other[~other["finding_id"].isin(["xf4", "xf5", "xf6", "xf7"])]
    assert waived(findings, "keep") == waived(findings, "keep", "unsure") == {"f3"}
    assert waived(renumbered, "keep") == {"xf3"}
    assert waived(other, "keep") == frozenset()  # ambiguous: one of five findings
    assert waived(findings, "keep", "drop") == waived(renumbered, "keep", "drop") == waived(findings, "unsure") == frozenset()
    assert waived(renumbered, "keep", given_label="n9") == frozenset()
    assert waived(renumbered.assign(evidence='{"partner": "train/cat/1.jpg"}'), "keep") == frozenset()


@pytest.mark.parametrize(
    ("scope", "problem"), [("class = 'n11'", "no class 'n11'; did you mean 'n1'"), ("split = 'vaal'", "no split 'vaal'; did you mean 'val'")]
)
def test_refuses_limits_on_unknown_classes_and_splits(tmp_path, small_run, scope, problem):
    with pytest.raises(ConfigError, match=f"policy.toml:2: limits.leakage.*the dataset has {problem}"):
        verdicts(small_run, policy(tmp_path, f"[limits]\nleakage = {{ count = 0, {scope} }}"))


def test_limit_on_an_absent_kind_lists_the_kinds_found(tmp_path, small_run):
    gate = judge(small_run, policy(tmp_path, "[limits]\nconflicting_labels = { count = 0, kind = 'same_scene' }"), Waived(frozenset()), None)
    kind = small_run.findings.loc[small_run.findings["check"] == "conflicting_labels", "kind"].iloc[0]
    assert f"no finding has kind 'same_scene'; kinds found: {kind}" in gate.verdicts[0].message


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ("leakage = { count = 0, kind = 'identical_byte' }", "leakage never reports kind 'identical_byte'; did you mean 'identical_bytes'?"),
        ("subgroups = { count = 0, kind = 'clusters' }", "subgroups never reports kind 'clusters'; did you mean 'cluster'?"),
        ("shortcuts = { rate = 0.1, kind = 'brightness' }", "shortcuts never reports kind 'brightness'; known: property_*"),
    ],
)
def test_refuses_limits_on_kinds_that_the_check_never_reports(tmp_path, small_run, limit, problem):
    (tmp_path / "policy.toml").write_text(f"[limits]\n{limit}\n")
    with pytest.raises(ConfigError) as caught:
        judge(small_run, read_policy(tmp_path / "policy.toml", discover()), Waived(frozenset()), None)
    assert problem in str(caught.value)


@pytest.mark.parametrize("limit", ["shortcuts = { count = 0, kind = 'property_width' }", "total = { count = 9, kind = 'a_value' }"])
def test_accepts_kinds_named_after_the_dataset(tmp_path, small_run, limit):
    (tmp_path / "policy.toml").write_text(f"[limits]\n{limit}\n")
    judge(small_run, read_policy(tmp_path / "policy.toml", discover()), Waived(frozenset()), None)


def test_unreadable_images_are_listed_and_can_be_waived(tmp_path, small_run):
    rules = policy(tmp_path, "[require]\nreadable = true")
    failed = small_run.samples.loc[small_run.samples["outcome"] != "ok", "sample_id"].tolist()
    (verdict,) = judge(small_run, rules, Waived(frozenset()), None).verdicts
    assert verdict.state == "failed"
    assert verdict.message.startswith(f"{len(failed)} of 6 listed images cannot be read: {failed[0]}")
    findings = small_run.findings
    ids = findings.loc[(findings["check"] == "integrity") & (findings["severity"] == "error"), "finding_id"]
    (verdict,) = judge(small_run, rules, Waived(frozenset(ids)), None).verdicts
    assert (verdict.state, verdict.message) == ("passed", f"0 of 6 listed images cannot be read; {len(failed)} more are waived")


def test_last_line_counts_rules_by_state(tmp_path, small_run):
    rules = "[limits]\nconflicting_labels = 0\nclass_balance = 100\n[new]\nleakage = 0"
    gate = judge(small_run, policy(tmp_path, rules), Waived(frozenset()), None)
    assert gate.summary() == "1 of 3 rules failed, 1 not judged"
    assert list(lines(gate))[-1] == "FAILED: 1 of 3 rules failed, 1 not judged, 0 findings waived"


def test_init_never_overwrites(tmp_path, capsys):
    path = tmp_path / "policy.toml"
    assert cli.invoke(["init", str(path)]) == 0
    path.write_text("mine")
    assert cli.invoke(["init", str(path)]) == 2
    assert path.read_text() == "mine"
    assert "already exists" in capsys.readouterr().err

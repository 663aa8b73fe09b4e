"""Export and import of decisions; errors name the line."""

import json

import pandas as pd
import pytest

from audit.errors import AuditError
from audit.io.spreadsheet import read_csv
from audit.review.decision_files import SHEET, new_decisions, read_decisions, write_decisions, write_sheet
from audit.review.decisions import Decision, Decisions, decide, latest


@pytest.fixture
def log(small_run):
    log = Decisions(small_run.path)
    log.append(decide(small_run, small_run.findings, "keep", reviewer="ada", note="=1+1, so; far\nfine"))
    log.append(decide(small_run, small_run.findings_page({"finding_id": "f1"}).rows, "relabel", reviewer="ben"))
    return log


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_export_import_round_trip(small_run, log, tmp_path, ending):
    path = tmp_path / f"decisions.{ending}"
    write_decisions(path, log.current())
    pd.testing.assert_frame_equal(latest(read_decisions(path, small_run)), log.current())
    assert new_decisions(read_decisions(path, small_run), log.current()) == []
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors save it
    assert new_decisions(read_decisions(path, small_run), log.current()) == []
    assert len(read_decisions(path, small_run)) == len(log.current())


def test_reads_a_filled_in_sheet(small_run, tmp_path):
    path = tmp_path / "sheet.csv"
    write_sheet(path, small_run.findings)
    assert read_decisions(path, small_run) == []
    lines = path.read_bytes().decode().split("\r\n")
    assert lines[0] == ",".join(SHEET)
    at = next(number for number, line in enumerate(lines) if ",f1," in line)
    lines[at] = "Relabel" + lines[at]
    path.write_bytes("\r\n".join(lines).encode())
    (decision,) = read_decisions(path, small_run, reviewer="ada")
    finding = small_run.findings_page({"finding_id": "f1"}).rows.iloc[0]
    assert (decision.verdict, decision.label, decision.check) == ("relabel", finding["suggested_label"], finding["check"])
    assert (decision.content_id, decision.sample_id) == (finding["content_id"], finding["sample_id"])


def sheet(tmp_path, text):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_sample_id_alone_identifies_an_image(small_run, tmp_path):
    (decision,) = read_decisions(sheet(tmp_path, "sample_id,verdict,label\ntrain/cat/2.jpg,relabel,n2\n"), small_run, reviewer="ada")
    assert (decision.content_id, decision.finding_id, decision.given_label) == ("02" * 32, None, "n1")
    (decision,) = read_decisions(sheet(tmp_path, "sample_id,check,verdict\ntrain/dog/3.jpg,integrity,drop\n"), small_run, reviewer="ada")
    assert decision.finding_id == "f2"


def test_content_id_wins_over_a_reused_name(small_run, tmp_path):
    (decision,) = read_decisions(sheet(tmp_path, f"sample_id,content_id,verdict\ntrain/cat/2.jpg,{'ee' * 32},drop\n"), small_run, reviewer="ada")
    assert decision.content_id == "ee" * 32


def test_older_decision_does_not_replace_a_newer_one(small_run, log):
    old = Decision(verdict="drop", reviewer="ada", finding_id="f1", time="2001-01-01T00:00:00.000000+00:00")
    new = Decision(verdict="drop", reviewer="ada", finding_id="f1", time="2999-01-01T00:00:00.000000+00:00")
    assert new_decisions([old, new], log.current()) == [new]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sample_id,verdict\ntrain/cat/2.jpg,kep\n", "d.csv:2: unknown verdict 'kep'; did you mean 'keep'"),
        ("sample_id,verdict\ntrain/cat/9.jpg,keep\n", "d.csv:2: this run has no image 'train/cat/9.jpg'"),
        ("finding_id,verdict\nf99,keep\n", "d.csv:2: this run has no finding 'f99'"),
        ("sample_id,verdict\ntrain/cat/2.jpg,\ntrain/cat/2.jpg,relabel\n", "d.csv:3: relabel without a label"),
        ("note,verdict\nx,keep\n", "d.csv:2: names no finding or image; fill in one of finding_id"),
        ("sample_id,verdct\ntrain/cat/2.jpg,keep\n", "no column 'verdict'; did you mean 'verdct'"),
        ("sample_id,verdict,time\ntrain/cat/2.jpg,keep,yesterday\n", "d.csv:2: 'yesterday' is not a valid time"),
    ],
)
def test_csv_errors_name_the_line(small_run, tmp_path, text, problem):
    with pytest.raises(AuditError, match=problem):
        read_decisions(sheet(tmp_path, text), small_run, reviewer="ada")


@pytest.mark.parametrize(("line", "problem"), [("{", ":1: is not valid JSON"), ("[1]", ":1: is not a JSON object")])
def test_json_errors_name_the_line(small_run, tmp_path, line, problem):
    (tmp_path / "d.jsonl").write_text(line)
    with pytest.raises(AuditError, match=problem):
        read_decisions(tmp_path / "d.jsonl", small_run)


def test_refuses_other_suffixes(small_run, log, tmp_path):
    with pytest.raises(AuditError, match=r"ends in .csv or .jsonl"):
        write_decisions(tmp_path / "d.xlsx", log.current())
    with pytest.raises(AuditError, match=r"ends in .csv or .jsonl"):
        read_decisions(tmp_path / "d.txt", small_run)


def test_json_lines_contain_no_nulls(log, tmp_path):
    write_decisions(tmp_path / "d.jsonl", log.current())
    assert all(None not in json.loads(line).values() for line in (tmp_path / "d.jsonl").read_text().splitlines())


def test_sheet_contains_no_formulas(small_run, tmp_path):
    findings = small_run.findings.assign(message="=1+1")
    write_sheet(tmp_path / "s.csv", findings)
    assert "'=1+1" in (tmp_path / "s.csv").read_text(encoding="utf-8")
    assert all(cells["message"] == "=1+1" for _, cells in read_csv(tmp_path / "s.csv"))

"""Deciding, exporting and reporting as a user does it, through the command line."""

import csv
import json

import pytest

from audit.cli import invoke


@pytest.fixture
def run(small_run):
    return str(small_run.path)


def test_from_a_sheet_to_corrected_labels(run, tmp_path, capsys):
    sheet, out = tmp_path / "review.csv", tmp_path / "labels.csv"
    assert invoke(["decisions", run, "--sheet", str(sheet), "--limit", "3"]) == 0
    assert "wrote 3 findings" in capsys.readouterr().out
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[0]["verdict"] = "relabel"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert invoke(["decisions", run, "--import", str(sheet), "--reviewer", "ada"]) == 0
    assert "imported 1 decision from" in capsys.readouterr().out
    assert invoke(["decisions", run, "--import", str(sheet), "--reviewer", "ada", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["imported"] == {"file": str(sheet), "decisions": 0, "already_there": 1, "new_classes": []}
    assert (state["decisions"], state["images"]["relabel"]) == (1, 1)
    assert invoke(["export", run, "--what", "corrected-labels", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1
    assert out.read_text(encoding="utf-8").splitlines()[1].startswith("train/cat/1.jpg,")
    assert invoke(["decisions", run, "--undo", "--reviewer", "ada"]) == 0
    assert "taken back: 1 decision" in capsys.readouterr().out


def test_a_sheet_with_verdicts_is_not_written_over(run, tmp_path, capsys):
    sheet = tmp_path / "review.csv"
    assert invoke(["decisions", run, "--sheet", str(sheet)]) == 0
    filled = sheet.read_text().replace("\r\n,", "\r\nkeep,")
    sheet.write_text(filled)
    capsys.readouterr()
    assert invoke(["decisions", run, "--sheet", str(sheet)]) == 2
    assert "review.csv: is there already, and may hold verdicts" in capsys.readouterr().err
    assert sheet.read_text() == filled


@pytest.mark.parametrize("row", ["keep,zzz,,", "keep,,zzz,", "keep,zzz,zzz,", "keep,,,no/such.jpg"])
def test_a_row_about_nothing_is_named_and_nothing_is_taken(run, tmp_path, capsys, row):
    sheet = tmp_path / "d.csv"
    sheet.write_text(f"verdict,finding_id,content_id,sample_id\nkeep,f1,,\n{row}\n")
    assert invoke(["decisions", run, "--import", str(sheet)]) == 2
    assert "d.csv:3: this run has no" in capsys.readouterr().err
    assert invoke(["decisions", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 0


@pytest.mark.parametrize("option", [["--check", "leakage"], ["--limit", "3"]])
def test_what_stands_on_a_sheet_is_asked_for_with_a_sheet(run, option, capsys):
    assert invoke(["decisions", run, *option]) == 2
    assert "name it with --sheet" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["corrected-labels", "drop-list"])
def test_where_nothing_is_decided_it_is_told_how_to_begin(run, what, tmp_path, capsys):
    assert invoke(["decisions", run]) == 0
    begin = f"decide with: imagenet-audit dashboard {run}, or imagenet-audit decisions {run} --sheet review.csv"
    assert capsys.readouterr().out == f"no decisions yet; {begin}\n"
    assert invoke(["export", run, "--what", what, "--out", str(tmp_path / "list.csv")]) == 0
    assert begin in capsys.readouterr().out


def test_a_label_that_is_no_class_is_told(run, tmp_path, capsys):
    sheet = tmp_path / "d.csv"
    sheet.write_text("verdict,label,sample_id\nrelabel,n111,train/cat/2.jpg\n")
    assert invoke(["decisions", run, "--import", str(sheet)]) == 0
    assert "they relabel to 'n111', a class that the dataset does not have" in capsys.readouterr().out


def test_decisions_go_to_another_run(run, tmp_path, capsys):
    sheet = tmp_path / "d.csv"
    sheet.write_text("sample_id,verdict,reviewer\ntrain/cat/2.jpg,drop,ben\n", encoding="utf-8")
    taken = tmp_path / "d.jsonl"
    assert invoke(["decisions", run, "--import", str(sheet), "--export", str(taken)]) == 0
    assert json.loads(taken.read_text())["reviewer"] == "ben"
    assert "1 decision by ben: drop 1" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["html", "md", "json", "csv", "txt"])
def test_a_report_by_its_ending(run, tmp_path, ending):
    assert invoke(["report", run, "--out", str(tmp_path / f"r.{ending}")]) == 0
    assert (tmp_path / f"r.{ending}").stat().st_size > 500


def test_a_report_lies_in_the_run_by_default_or_is_printed(run, small_run, capsys):
    assert invoke(["report", run]) == 0
    assert (small_run.path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    capsys.readouterr()
    assert invoke(["report", run, "--format", "dataset_card", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("## Data quality audit")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["report", "RUN", "--out", "r.pdf"], "no format has the ending '.pdf'"),
        (["report", "RUN", "--format", "htm"], "did you mean 'html'"),
        (["report", "RUN", "--out", "nowhere/r.html"], "there is no such folder"),
        (["export", "RUN", "--what", "drop-lst", "--out", "d.csv"], "did you mean 'drop-list'"),
        (["decisions", "RUN", "--sheet", "s.csv", "--check", "leakge"], "did you mean 'leakage'"),
        (["decisions", "RUN", "--sheet", "s.jsonl"], "s.jsonl: a sheet is CSV; name a file that ends in .csv"),
        (["decisions", "RUN", "--import", "none.csv"], "there is no such file"),
    ],
)
def test_mistakes_are_told_in_one_line(run, arguments, problem, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke([run if argument == "RUN" else argument for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert problem in told
    assert len(told.splitlines()) == 1

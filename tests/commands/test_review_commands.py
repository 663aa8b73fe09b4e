"""Review, export and report through the command line."""

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
    assert "undone: 1 decision" in capsys.readouterr().out


def test_does_not_overwrite_a_filled_in_sheet(run, tmp_path, capsys):
    sheet = tmp_path / "review.csv"
    assert invoke(["decisions", run, "--sheet", str(sheet)]) == 0
    filled = sheet.read_text().replace("\r\n,", "\r\nkeep,")
    sheet.write_text(filled)
    capsys.readouterr()
    assert invoke(["decisions", run, "--sheet", str(sheet)]) == 2
    assert "review.csv: already exists and may contain verdicts" in capsys.readouterr().err
    assert sheet.read_text() == filled


@pytest.mark.parametrize("row", ["keep,zzz,,", "keep,,zzz,", "keep,zzz,zzz,", "keep,,,no/such.jpg"])
def test_unknown_subject_fails_the_whole_import(run, tmp_path, capsys, row):
    sheet = tmp_path / "d.csv"
    sheet.write_text(f"verdict,finding_id,content_id,sample_id\nkeep,f1,,\n{row}\n")
    assert invoke(["decisions", run, "--import", str(sheet)]) == 2
    assert "d.csv:3: this run has no" in capsys.readouterr().err
    assert invoke(["decisions", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 0


@pytest.mark.parametrize("option", [["--check", "leakage"], ["--limit", "3"]])
def test_sheet_options_require_a_sheet(run, option, capsys):
    assert invoke(["decisions", run, *option]) == 2
    assert "add --sheet FILE" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["corrected-labels", "drop-list"])
def test_suggests_how_to_review_without_decisions(run, what, tmp_path, capsys):
    assert invoke(["decisions", run]) == 0
    hint = f"review findings with: imagenet-audit dashboard {run}, or imagenet-audit decisions {run} --sheet review.csv"
    assert capsys.readouterr().out == f"no decisions yet; {hint}\n"
    assert invoke(["export", run, "--what", what, "--out", str(tmp_path / "list.csv")]) == 0
    assert hint in capsys.readouterr().out


def test_warns_about_new_classes(run, tmp_path, capsys):
    sheet = tmp_path / "d.csv"
    sheet.write_text("verdict,label,sample_id\nrelabel,n111,train/cat/2.jpg\n")
    assert invoke(["decisions", run, "--import", str(sheet)]) == 0
    assert "relabels to 'n111', a class that is not in the dataset" in capsys.readouterr().out


def test_imports_and_exports_in_one_call(run, tmp_path, capsys):
    sheet = tmp_path / "d.csv"
    sheet.write_text("sample_id,verdict,reviewer\ntrain/cat/2.jpg,drop,ben\n", encoding="utf-8")
    taken = tmp_path / "d.jsonl"
    assert invoke(["decisions", run, "--import", str(sheet), "--export", str(taken)]) == 0
    assert json.loads(taken.read_text())["reviewer"] == "ben"
    assert "1 decision by ben: drop 1" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["html", "md", "json", "csv", "txt"])
def test_suffix_selects_the_report_format(run, tmp_path, suffix):
    assert invoke(["report", run, "--out", str(tmp_path / f"r.{suffix}")]) == 0
    assert (tmp_path / f"r.{suffix}").stat().st_size > 500


def test_report_is_written_to_the_run_or_printed(run, small_run, capsys):
    assert invoke(["report", run]) == 0
    assert (small_run.path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    capsys.readouterr()
    assert invoke(["report", run, "--format", "dataset_card", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("## Data quality audit")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["report", "RUN", "--out", "r.pdf"], "no format has the suffix '.pdf'"),
        (["report", "RUN", "--format", "htm"], "did you mean 'html'"),
        (["report", "RUN", "--out", "nowhere/r.html"], "no such folder"),
        (["export", "RUN", "--what", "drop-lst", "--out", "d.csv"], "did you mean 'drop-list'"),
        (["decisions", "RUN", "--sheet", "s.csv", "--check", "leakge"], "did you mean 'leakage'"),
        (["decisions", "RUN", "--sheet", "s.jsonl"], "s.jsonl: a review sheet is a CSV file; choose a name that ends in .csv"),
        (["decisions", "RUN", "--import", "none.csv"], "no such file"),
    ],
)
def test_user_errors_are_one_line(run, arguments, problem, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke([run if argument == "RUN" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.splitlines()) == 1

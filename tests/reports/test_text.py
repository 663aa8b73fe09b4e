import shlex

import pyarrow as pa
import pytest
from rich.cells import cell_len

from audit.io.artifacts import read_table, to_frame, write_table
from audit.run.run import Run
from audit.tables import SAMPLES
from reports.content.summary import summarize
from reports.dataset_card import render as dataset_card
from reports.html import render as html
from reports.markdown import render as markdown
from reports.text import explain_command, render


def test_accounts_for_every_image(small_run):
    assert "listed 6 = scanned 5 + failed 1 (truncated 1)" in render(small_run)


def test_shows_findings_checks_and_backbone(small_run):
    text = render(small_run, width=200)
    assert "4 issues: 2 errors, 1 warning, 1 note (8 findings about 3 images)" in text
    assert "leakage  5  (re_encoded 5)" in text
    assert "First of 5 findings about this image: is also in train" in text
    assert "error 0.90  train/cat/1.jpg  is train/dog/1.jpg, labelled n2" in text
    assert "note 0.20  class n1  has 2 images" in text
    assert "no findings: outliers" in text
    assert "skipped label_errors: no predictions" in text
    assert "backbone embedded on cpu float32: asked for" in text
    assert "took 1 min 15 s" in text


@pytest.mark.parametrize("form", [render, markdown, dataset_card])
def test_groups_skipped_checks_by_reason(small_run, form):
    for name in ("attributes", "faces", "split_shift"):
        reason = "not asked for" if name == "faces" else "no predictions"
        small_run.record["checks"][name] = {"state": "skipped", "reason": reason, "findings": 0, "seconds": 0.0}
    text = form(small_run).replace("`", "").replace("\\", "")
    assert text.count("attributes, label_errors, split_shift") == text.count("no predictions") == 1
    assert text.count("not asked for") == 1


def test_file_names_cannot_control_the_terminal(small_run):
    for color in (False, True):
        text = render(small_run, color=color)
        plain = text.replace("\x1b[0m", "")
        assert "\x1b[31mred" not in plain
        assert "\u202e" not in text
        assert r"\x1b[31mred\nline\u202egpj.jpg" in render(small_run, width=200)


def test_has_no_escapes_without_color(small_run):
    assert "\x1b" not in render(small_run)
    assert "\x1b[" in render(small_run, color=True)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_fits_the_terminal_except_commands(small_run, width):
    for line in render(small_run, width=width).splitlines():
        assert cell_len(line) <= width or line.startswith("    "), line


def test_commands_are_on_one_line_and_quoted(small_run):
    summary = summarize(small_run)
    command = explain_command(summary, summary.top[0])
    assert f"    {command}" in render(small_run, width=30).splitlines()
    assert shlex.split(command) == ["imagenet-audit", "explain", str(small_run.path), "train/cat/1.jpg"]


def test_lists_next_commands(small_run):
    lines = render(small_run).splitlines()
    commands = [shlex.split(line) for line in lines[lines.index("next") :] if line.startswith("    imagenet-audit")]
    assert [words[1] for words in commands] == ["dashboard", "explain", "report"]
    assert {words[2] for words in commands} == {str(small_run.path)}


def test_counts_images_without_split(small_run):
    samples = to_frame(read_table(small_run.path / "samples.parquet"))
    samples["split"] = ["train", None, "val", "train", None, None]
    write_table(small_run.path / "samples.parquet", pa.Table.from_pandas(samples, SAMPLES, preserve_index=False))
    assert "splits train 2, val 1; 3 without split)" in render(Run(small_run.path), width=200)


def test_explains_hostile_name_by_content_id(small_run):
    summary = summarize(small_run)
    finding = next(finding for finding in summary.top if finding.check == "leakage")
    assert shlex.split(explain_command(summary, finding))[-1] == "05" * 8


def test_renders_an_empty_run(small_run):
    write_table(small_run.path / "samples.parquet", read_table(small_run.path / "samples.parquet").slice(0, 0))
    (small_run.path / "pairs.parquet").unlink()
    small_run.record["counts"] = {"listed": 0, "scanned": 0, "failed": 0, "outcomes": {}}
    small_run.record["checks"] = {}
    small_run.record["timings"] = {}
    run = Run(small_run.path)
    run.record = small_run.record
    assert "No findings." in render(run)
    assert "listed 0 = scanned 0 + failed 0\n" in render(run)


def test_prints_what_checks_looked_at(small_run):
    small_run.record["checks"]["outliers"]["note"] = "looked at \x1b[31m everything"
    assert "outliers: looked at \\x1b[31m everything" in render(small_run, width=200)
    assert "- `outliers`: looked at" in markdown(small_run)
    assert "looked at" in html(small_run)

"""Reading a run in parts gives the same as reading it whole."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import audit
from audit.cli import invoke
from audit.errors import AuditError, RunError
from audit.review.agreement import precision
from audit.review.decisions import decide, latest
from audit.run.ranking import ranked
from audit.run.run import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run of 3,000 samples as the benchmark draws it."""
    spec = importlib.util.spec_from_file_location("make_run", ROOT / "benchmarks" / "make_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("drawn") / "run"
    module.make_run(path, samples=3000, classes=20, findings=900)
    return Run(path)


def test_pages_together_are_all_findings_in_order(drawn):
    pages = [drawn.findings_page(offset=offset, limit=200) for offset in range(0, len(drawn.findings), 200)]
    together = pd.concat([page.rows for page in pages], ignore_index=True)
    pd.testing.assert_frame_equal(together, drawn.findings, check_dtype=False)
    assert {page.total for page in pages} == {len(drawn.findings)}
    assert drawn.findings["finding_id"].tolist() == ranked(drawn.findings)["finding_id"].tolist()


def test_page_of_selected_findings(drawn):
    page = drawn.findings_page({"check": "label_errors", "split": ["train", "val"], "severity": "error"}, offset=10, limit=5)
    every = drawn.findings
    wanted = every[(every["check"] == "label_errors") & (every["severity"] == "error")]
    assert page.total == len(wanted)
    assert page.rows["finding_id"].tolist() == wanted["finding_id"].iloc[10:15].tolist()
    assert page.rows["message"].tolist() == wanted["message"].iloc[10:15].tolist()


def test_page_beyond_the_last_is_empty_and_unknown_columns_are_refused(drawn):
    page = drawn.findings_page({"check": "leakage"}, offset=10_000, limit=5)
    assert page.rows.empty
    assert list(page.rows.columns) == list(drawn.findings.columns)
    with pytest.raises(AuditError, match="did you mean 'split'"):
        drawn.findings_page({"splt": "train"})


def test_precision_changes_the_order(drawn):
    worst = drawn.findings_page(limit=200).rows
    first = worst[worst["check"] == "leakage"]
    poor = precision(latest(decide(drawn, first, "keep", reviewer="ada")), drawn.findings_index)
    after = drawn.findings_page(precision=poor, limit=200).rows
    assert (after["check"] == "leakage").sum() < len(first)


def test_columns_of_some_rows(drawn):
    rows = np.array([2999, 0, 7, 7])
    expected = drawn.samples.iloc[rows][["sample_id", "perceptual_hash"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn.columns("sample_id", "perceptual_hash", rows=rows), expected)


def test_rows_of_sample_ids(drawn):
    names = drawn.samples["sample_id"].iloc[[5, 2, 5]].tolist()
    assert drawn.rows_of([*names, "no such image"]).tolist() == [5, 2, 5, -1]
    assert drawn.rows_of([]).tolist() == []


def test_identical_copies_have_an_ordinal_each(drawn):
    content = drawn.samples.set_index("sample_id")["content_id"]
    by_content = {}
    for name, (ordinal, copies) in drawn.identical_copies.items():
        by_content.setdefault((content[name], copies), []).append(ordinal)
    assert by_content
    assert all(sorted(ordinals) == list(range(copies)) for (_, copies), ordinals in by_content.items())
    assert len(drawn.identical_copies) == content.duplicated(keep=False).sum()


def test_rows_are_read_across_row_groups(tmp_path):
    from audit.io.artifacts import read_rows

    pq.write_table(pa.table({"a": range(100)}), tmp_path / "t.parquet", row_group_size=7)
    rows = np.array([99, 0, 6, 7, 50, 50])
    assert read_rows(tmp_path / "t.parquet", rows)["a"].to_pylist() == rows.tolist()
    assert len(read_rows(tmp_path / "t.parquet", np.array([], np.int64))) == 0


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("counts", {"listed": 6, "failed": 0, "outcomes": {}}, "counts.scanned is not a number"),
        ("counts", None, "counts is not an object"),
        ("checks", {"leakage": {"findings": 1}}, "checks.leakage.state is not a string"),
        ("checks", {"leakage": {"state": "dune", "findings": 1}}, "checks.leakage.state is not one of done, skipped"),
        ("classes", ["cat", 7], "classes is not a list of strings"),
        ("class_words", {"n1": ["cat"]}, "class_words.n1 is not a string"),
        ("timings", {"ingest": True}, "timings.ingest is not a number"),
    ],
)
def test_refuses_record_of_another_shape(small_run, key, value, problem):
    record = small_run.record | {key: value}
    (small_run.path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=rf"run\.json: corrupt: {problem}; delete this file and scan again"):
        Run(small_run.path)


def test_run_of_an_earlier_version_is_read_and_updated(marked_run, tmp_path):
    """It lacks columns and keys that were added later."""
    old = tmp_path / "run"
    shutil.copytree(marked_run.path, old)
    table = pq.read_table(old / "samples.parquet")
    pq.write_table(table.drop_columns(["day_code", "encoder"]), old / "samples.parquet")
    record = json.loads((old / "run.json").read_text())
    for name in ("finished", "seconds", "taxonomy", "class_words"):
        record.pop(name, None)
    (old / "run.json").write_text(json.dumps(record))
    (tmp_path / "policy.toml").write_text("[limits]\nmarks = 0\n")
    for command in (
        ["report", old, "--out", tmp_path / "r.html"],
        ["explain", old, "cat/01.png"],
        ["check", old, "--policy", tmp_path / "policy.toml"],
        ["diff", old, marked_run.path],
        ["lock", old, "--out", tmp_path / "audit.lock"],
        ["decisions", old],
        ["export", old, "--what", "cleaned-manifest", "--out", tmp_path / "m.csv"],
    ):
        assert invoke([str(word) for word in command]) in (0, 1), command
    again = audit.scan(marked_run.record["source"]["absolute"], old, options=audit.ScanOptions(backbone="embedded", device="cpu", workers=1))
    assert again.samples.equals(marked_run.samples)
    assert again.findings["finding_id"].tolist() == marked_run.findings["finding_id"].tolist()

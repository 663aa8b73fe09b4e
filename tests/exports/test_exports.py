"""Exports agree with findings and decisions."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from audit.errors import AuditError
from audit.exports import export, exports
from audit.io.artifacts import read_table, write_array, write_table
from audit.review.consensus import groups_gone
from audit.review.decisions import Decision, Decisions, decide
from audit.run.run import Run
from audit.tables import PAIRS, SAMPLES


@pytest.fixture
def decided(small_run):
    """A run in which train/cat/1.jpg is relabelled to n2 and train/dog/3.jpg is dropped."""
    log = Decisions(small_run.path)
    page = small_run.findings_page
    log.append(decide(small_run, page({"finding_id": "f1"}).rows, "relabel", reviewer="ada"))
    log.append(decide(small_run, page({"finding_id": "f2"}).rows, "drop", reviewer="ada", note="=cut off"))
    return small_run


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_kinds_are_registered():
    tables = {"cleaned-manifest", "corrected-labels", "drop-list", "clean-split"}
    assert set(exports()) == {*tables, "cleanlab", "fiftyone", "label-studio", "croissant", "embedding-atlas", "stripped-images"}


def test_corrected_labels(decided, tmp_path):
    assert export(decided, "corrected-labels", tmp_path / "c.csv") == {"images": 1}
    (row,) = table(tmp_path / "c.csv")
    assert (row["sample_id"], row["given_label"], row["label"], row["reviewers"]) == ("train/cat/1.jpg", "n1", "n2", "ada")


def test_drop_list_escapes_formulas(decided, tmp_path):
    export(decided, "drop-list", tmp_path / "d.csv")
    (row,) = table(tmp_path / "d.csv")
    assert (row["sample_id"], row["note"]) == ("train/dog/3.jpg", "'=cut off")
    export(decided, "drop-list", tmp_path / "d.jsonl")
    assert json.loads((tmp_path / "d.jsonl").read_text())["note"] == "=cut off"


def test_cleaned_manifest_lists_kept_images(decided, tmp_path):
    written = export(decided, "cleaned-manifest", tmp_path / "m.parquet")
    frame = pd.read_parquet(tmp_path / "m.parquet").set_index("sample_id")
    assert set(frame.index) == set(decided.samples["sample_id"]) - {"train/dog/3.jpg"}
    assert frame.loc["train/cat/1.jpg", "label"] == "n2"
    assert written == {"images": 5, "dropped": 1, "relabelled": 1, "failed": 1, "groups_gone": 0}


def test_counts_duplicate_groups_that_would_be_removed_entirely(small_run, tmp_path):
    log = Decisions(small_run.path)
    one, other = (
        Decision(verdict="drop", reviewer="ada", content_id=f"0{at}" * 32, sample_id=f"train/{name}/1.jpg") for at, name in ((1, "cat"), (3, "dog"))
    )
    log.append([one])
    assert export(small_run, "drop-list", tmp_path / "d.csv") == {"images": 1, "groups_gone": 0}
    log.append([other])
    assert export(small_run, "drop-list", tmp_path / "d.csv") == {"images": 2, "groups_gone": 1}
    assert export(small_run, "cleaned-manifest", tmp_path / "m.csv")["groups_gone"] == 1
    assert export(small_run, "clean-split", tmp_path / "s.csv")["groups_gone"] == 1
    (rows,) = groups_gone(small_run, np.array([0, 2]))
    assert rows.tolist() == [0, 2]


def test_clean_split_removes_leaks_unless_kept(decided, tmp_path):
    pairs = read_table(decided.path / "pairs.parquet").to_pylist()
    leak = pairs[0] | {"i": 1, "j": 4, "relation": "re_encoded", "group": -1}  # train/cat/2.jpg is in val too
    write_table(decided.path / "pairs.parquet", pa.Table.from_pylist([*pairs, leak], PAIRS))
    export(Run(decided.path), "clean-split", tmp_path / "s.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert len(rows) == len(decided)
    assert {row["sample_id"] for row in rows if row["new_split"] is None} == {"train/cat/2.jpg", "train/dog/3.jpg"}
    assert "val" in next(row["reason"] for row in rows if row["sample_id"] == "train/cat/2.jpg")
    kept = Decision(verdict="keep", reviewer="ada", content_id="02" * 32, sample_id="train/cat/2.jpg")
    Decisions(decided.path).append([kept])
    assert export(Run(decided.path), "clean-split", tmp_path / "s.jsonl")["leaving"] == 1


def test_cleanlab_arrays_have_the_same_rows(decided, tmp_path):
    with pytest.raises(AuditError, match="no predictions"):
        export(decided, "cleanlab", tmp_path / "arrays")
    predictions = np.full((6, 2), 0.5, np.float32)
    predictions[3] = np.nan
    write_array(decided.path / "predictions.npy", predictions)
    decided.record["classes"] = ["n1", "n2"]
    assert export(decided, "cleanlab", tmp_path / "arrays") == {"images": 4, "classes": 2}
    ids = json.loads((tmp_path / "arrays" / "ids.json").read_text())
    labels = np.load(tmp_path / "arrays" / "labels.npy")
    assert np.load(tmp_path / "arrays" / "pred_probs.npy").shape == (4, 2)
    assert dict(zip(ids, labels.tolist(), strict=True))["train/cat/1.jpg"] == 1  # as decided
    assert "train/dog/3.jpg" not in ids


def test_cleanlab_arrays_when_all_images_have_a_label(decided, tmp_path):
    table = read_table(decided.path / "samples.parquet")
    label = pa.array([label or "n1" for label in table["label"].to_pylist()], pa.string())
    write_table(decided.path / "samples.parquet", table.set_column(SAMPLES.get_field_index("label"), SAMPLES.field("label"), label))
    write_array(decided.path / "predictions.npy", np.full((6, 2), 0.5, np.float32))
    decided.record["classes"] = ["n1", "n2"]
    assert export(decided, "cleanlab", tmp_path / "arrays")["images"] == 5


def test_fiftyone_samples_reference_images_by_path(decided, tmp_path):
    written = export(decided, "fiftyone", tmp_path / "fo")
    samples = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert written["samples"] == len(samples) == decided.findings["sample_id"].nunique()
    first = next(sample for sample in samples if sample["filepath"] == "/data/pets/train/cat/1.jpg")
    assert (first["ground_truth"]["label"], first["decided"]["label"]) == ("n1", "n2")
    assert first["tags"] == ["train", "audit:relabel"]


def test_label_studio_tasks_contain_suggestion_and_decision(decided, tmp_path):
    export(decided, "label-studio", tmp_path / "t.json")
    tasks = json.loads((tmp_path / "t.json").read_text())
    first = next(task for task in tasks if task["data"]["sample_id"] == "train/cat/1.jpg")
    assert first["predictions"][0]["result"][0]["value"]["choices"] == first["annotations"][0]["result"][0]["value"]["choices"] == ["n2"]
    assert first["data"]["image"] == "/data/local-files/?d=data/pets/train/cat/1.jpg"
    hostile = next(task for task in tasks if "red" in task["data"]["image"])
    assert "\x1b" not in hostile["data"]["image"]


def test_croissant_contains_audit_figures(decided, tmp_path):
    export(decided, "croissant", tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    figures = content["rai:dataQualityAudit"]
    assert figures["listed"] == figures["scanned"] + figures["failed"] == len(decided)
    assert figures["findings"] == sum(figures["findingsByCheck"].values()) == len(decided.findings)
    assert figures["decidedImages"] == {"drop": 1, "relabel": 1}
    ids = [field["@id"] for records in content["recordSet"] for field in records["field"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("what", "out", "problem"),
    [
        ("drop-lst", "x.csv", "did you mean 'drop-list'"),
        ("drop-list", "x.xlsx", "use .csv or .jsonl or .parquet"),
        ("cleanlab", "x.csv", "choose a folder"),
        ("drop-list", "nowhere/x.csv", "no such folder"),
        ("drop-list", "folder.csv", "cannot be written as a folder; use .csv"),
        ("drop-list", "folder.v1", "cannot be written as a folder; use .csv"),
        ("cleanlab", "file.v1", "cannot be written as '.v1'; choose a folder"),
        ("fiftyone", "new.jsonl", "cannot be written as '.jsonl'; choose a folder"),
    ],
)
def test_refuses_unknown_kinds_and_wrong_endings(decided, tmp_path, what, out, problem):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.v1").mkdir()
    (tmp_path / "file.v1").touch()
    with pytest.raises(AuditError, match=problem):
        export(decided, what, tmp_path / out)


@pytest.mark.parametrize("out", ["pets.v1", "there.v2", "there.csv"])
def test_folder_name_may_contain_a_dot(decided, tmp_path, out):
    (tmp_path / "there.v2").mkdir()
    (tmp_path / "there.csv").mkdir()
    assert export(decided, "fiftyone", tmp_path / out)["samples"]
    assert (tmp_path / out / "samples.json").is_file()


def test_exports_a_run_without_findings_and_decisions(small_run, tmp_path):
    for name in small_run.record["checks"]:
        small_run.record["checks"][name] = {"state": "skipped", "reason": "none", "findings": 0}
    empty = Run(small_run.path)
    empty.record = small_run.record
    for what, out in (
        ("drop-list", "d.csv"),
        ("corrected-labels", "c.parquet"),
        ("fiftyone", "fo"),
        ("label-studio", "t.json"),
        ("croissant", "c.json"),
    ):
        assert export(empty, what, tmp_path / out)
    assert export(empty, "cleaned-manifest", tmp_path / "m.csv")["images"] == 5

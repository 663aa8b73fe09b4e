"""Groups of images, such as patients: they stay in one fold, are reported across splits, and move as a whole."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit.config import ScanOptions
from audit.errors import ConfigError, SourceError
from audit.exports import export
from audit.gate.gate import judge
from audit.gate.policy import read_policy
from audit.gate.waivers import Waived
from audit.ingest.listing import list_samples
from audit.run.tables import open_rows
from audit.sources import SourceOptions, open_source
from audit.sources.annotations.grouping import Grouping, possible_groups


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """48 images of 12 patients, p0 to p11, two classes; patients p0 and p1 are in both splits."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(3)
    rows = []
    for number in range(48):
        patient, label = number // 4, "ill" if number // 4 % 2 else "well"
        split = "test" if patient >= 9 or (patient < 2 and number % 4 == 0) else "train"
        path = f"{split}/{label}/{patient:04}_{number % 4:03}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)).resize((96, 80)).save(folder / path)
        rows.append((path, label, split, f"p{patient}"))
    pd.DataFrame(rows, columns=["path", "label", "split", "patient_id"]).to_csv(folder / "m.csv", index=False)
    pd.DataFrame([(row[0], row[3]) for row in rows], columns=["path", "patient_id"]).to_csv(folder / "patients.csv", index=False)
    return folder


def scan(source, out, **options):
    chosen = ScanOptions(backbone="embedded", device="cpu", workers=1, only=("leakage", "label_errors"), source=SourceOptions(**options))
    return audit.scan(source, out, options=chosen)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return scan(data / "m.csv", tmp_path_factory.mktemp("run"), group_column="patient_id")


def groups_of(location, grouping, **options):
    table, _ = list_samples(open_source(str(location), SourceOptions(**options)), lambda _: None, grouping)
    return dict(zip(table["sample_id"].to_pylist(), table["group"].to_pylist(), strict=True))


def test_groups_come_from_a_column_a_pattern_or_a_label_file(data):
    by_column = groups_of(data / "m.csv", Grouping("patient_id"))
    by_pattern = groups_of(data, Grouping(pattern=r"(\d+)_[^/]*$"))
    by_file = groups_of(data, Grouping("patient_id"), labels_file=str(data / "patients.csv"), group_column="patient_id")
    assert by_column == by_file == {name: f"p{int(group)}" for name, group in by_pattern.items()}
    assert len(set(by_column.values())) == 12


def test_file_of_groups_keeps_the_labels_of_folders(data):
    options = SourceOptions(labels_file=str(data / "patients.csv"), group_column="patient_id")
    table, _ = list_samples(open_source(str(data), options), lambda _: None, Grouping("patient_id"))
    assert set(table["label"].to_pylist()) == {"ill", "well"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"group_column": "patient"}, "has no column 'patient'; its columns are patient_id; did you mean 'patient_id'?"),
        ({"group_pattern": "zzz"}, "--group-pattern: 'zzz' is found in no sample id"),
    ],
)
def test_refuses_what_gives_no_image_a_group(data, tmp_path, options, problem):
    with pytest.raises(SourceError) as refused:
        scan(data / "m.csv", tmp_path / "run", **options)
    assert problem in str(refused.value)


def test_refuses_an_invalid_pattern_or_two_ways():
    with pytest.raises(ConfigError, match=r"group_pattern: '\(' is not a regular expression: missing \)"):
        SourceOptions(group_pattern="(")
    with pytest.raises(ConfigError, match="contradicts group_column"):
        SourceOptions(group_pattern="a", group_column="b")


def test_no_fold_splits_a_group(run, data, tmp_path):
    """The folds are not stored for few images, so that they are read from what each model predicts: a copy of the whole computation."""
    from audit.pairs.duplicate_sets import connected_sets
    from audit.predictions.out_of_sample import out_of_sample

    samples = run.columns("group", "label")
    labels = samples["label"].map({"ill": 0, "well": 1}).to_numpy(np.int32)
    together = connected_sets(run.pairs, len(run), samples["group"])
    images = np.array([content[:32].encode() for content in run.columns("content_id")["content_id"]])
    found = out_of_sample(open_rows(run.path, "embeddings", len(run)), labels, together, images=images)
    assert pd.Series(found.fold).groupby(samples["group"]).nunique().max() == 1
    apart = scan(data / "m.csv", tmp_path / "apart")
    assert apart.record["stages"]["predictions"]["folds"] != run.record["stages"]["predictions"]["folds"]
    assert not np.array_equal(apart.predictions, run.predictions)


def test_leakage_reports_groups_in_two_splits_with_counts(run):
    found = run.findings[run.findings["kind"] == "same_group"]
    assert sorted(found["sample_id"]) == ["test/ill/0001_000.png", "test/well/0000_000.png"]
    assert [json.loads(one)["images"] for one in found["evidence"]] == [{"test": 1, "train": 3}] * 2
    assert "images of the group: test 1, train 3. Move the whole group to one split." in found["message"].iloc[0]
    assert not found["message"].str.contains("p0|p1").any()  # a patient's id is personal
    names = run.columns("sample_id")["sample_id"]
    assert {name[-12:-8] for name in names[run.scores("leakage") > 0]} == {"0000", "0001"}


def test_clean_split_moves_whole_groups(run, tmp_path):
    counts = export(run, "clean-split", tmp_path / "s.csv")
    table = pd.read_csv(tmp_path / "s.csv")
    assert (counts["moved"], counts["leaving"]) == (2, 0)
    moved = table[table["split"] != table["new_split"]]
    assert moved[["split", "new_split"]].to_numpy().tolist() == [["test", "train"]] * 2
    assert set(moved["reason"]) == {"most images of its group are in 'train'"}
    assert table.groupby(table["sample_id"].str[-12:-8])["new_split"].nunique().max() == 1


def test_copies_of_moved_images_are_removed(data, tmp_path):
    """A copy, in train, of an image that moves to train does not leak any more; one in test now does."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    shutil.copy(copy / "test/well/0000_000.png", copy / "test/well/0099_000.png")
    run = scan(copy, tmp_path / "run", group_pattern=r"(\d+)_[^/]*$")
    export(run, "clean-split", tmp_path / "s.csv")
    table = pd.read_csv(tmp_path / "s.csv").set_index("sample_id")
    assert pd.isna(table.loc["test/well/0000_000.png", "new_split"])
    assert table.loc["test/well/0099_000.png", "new_split"] == "test"


def verdict(run, tmp_path, text):
    (tmp_path / "policy.toml").write_text(text)
    policy = read_policy(tmp_path / "policy.toml", ["leakage"])
    (found,) = judge(run, policy, Waived(frozenset()), None).verdicts
    return found.state, found.message


def test_gate_requires_whole_groups(run, data, tmp_path):
    state, message = verdict(run, tmp_path, "[require]\nwhole_groups = true\n")
    assert (state, message.partition(",")[0]) == ("failed", "2 of 12 groups are in several splits")
    assert verdict(run, tmp_path, '[limits]\nleakage = { count = 1, kind = "same_group" }\n')[0] == "failed"
    without = scan(data / "m.csv", tmp_path / "run")
    assert verdict(without, tmp_path, "[require]\nwhole_groups = true\n") == (
        "unknown",
        "the scan has no groups: set group_column or group_pattern in audit.toml",
    )


def test_names_that_look_like_groups_are_pointed_out_and_not_assumed(data, tmp_path):
    run = scan(data, tmp_path / "run")
    (problem,) = [one for one in run.record["source"]["problems"] if one["kind"] == "possible_groups"]
    assert "48 start with one of 12 numbers" in problem["message"]
    assert "2 of these are in several splits" in problem["message"]
    assert "--group-pattern" in problem["message"]
    assert run.columns("group")["group"].isna().all()


@pytest.mark.parametrize(
    ("names", "labels", "found"),
    [
        ([f"{number // 3:08}_{number % 3:03}.jpg" for number in range(60)], ["a", "b"] * 30, True),
        ([f"exp{number // 10}_num_{100000 + number}.png" for number in range(60)], ["a", "b"] * 30, True),
        ([f"n{number // 10:08}_{number}.JPEG" for number in range(60)], [f"n{number // 10:08}" for number in range(60)], False),
        ([f"ILSVRC2012_val_{number:08}.JPEG" for number in range(60)], [None] * 60, False),
        ([f"IMG_{number:04}.JPG" for number in range(60)], [None] * 60, False),
        ([f"{number:05}.jpg" for number in range(60)], [None] * 60, False),
        ([f"{number * 7919 % 100000:08}-12ab-4f.jpg" for number in range(60)], [None] * 60, False),
    ],
)
def test_possible_groups(names, labels, found):
    assert bool(list(possible_groups(names, labels, [None] * 60))) == found

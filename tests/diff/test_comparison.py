"""Versions of a small dataset that differ by one edit: the comparison reports exactly that edit."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit import cli
from audit.diff.comparison import compare
from audit.diff.drift import embedding_drift
from audit.diff.sample_matching import match, renamed_names
from audit.diff.text import document, lines

OPTIONS = audit.ScanOptions(backbone="embedded", device="cpu", workers=1, only=("integrity", "leakage", "conflicting_labels", "exact_duplicates"))


def photo(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((72, 60), Image.Resampling.BICUBIC)


def rename_class(data):
    for split in ("train", "val"):
        (data / split / "ant").rename(data / split / "zebra")


def add(data):
    for number in (70, 71):
        photo(9000 + number).save(data / f"train/ant/{number}.png")


def leak(data):
    shutil.copyfile(data / "train/ant/0.png", data / "val/ant/leaked.png")


def relabel(data):
    for number in range(2):
        (data / f"train/ant/{number}.png").rename(data / f"train/bee/from-ant-{number}.png")


def move(data):
    (data / "train/cat/0.png").rename(data / "val/cat/moved.png")


def lose_label_and_split(data):
    shutil.copytree(data / "train", data.parent / "flat")
    shutil.rmtree(data)
    data.mkdir()
    (data.parent / "flat/ant/0.png").rename(data / "0.png")


def drop(data):
    for split in ("train", "val"):
        shutil.rmtree(data / split / "cat")


def replace(data):
    photo(12345).save(data / "train/bee/3.png")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    for split, offset in (("train", 0), ("val", 5000)):
        for place, label in enumerate(("ant", "bee", "cat")):
            (folder / "first" / split / label).mkdir(parents=True)
            for number in range(5):
                photo(offset + 1000 * place + number).save(folder / "first" / split / label / f"{number}.png")
    leak(folder / "first")
    audit.scan(folder / "first", folder / "first-run", options=OPTIONS)
    return folder


def version(folder, *edits, options=OPTIONS):
    name = "-".join(edit.__name__ for edit in edits) or "same"
    if not (folder / name).exists():
        shutil.copytree(folder / "first", folder / name)
        for edit in edits:
            edit(folder / name)
        shutil.copytree(folder / "first-run", folder / f"{name}-run")
        audit.scan(folder / name, folder / f"{name}-run", options=options)
    return compare(audit.open_run(folder / "first-run"), audit.open_run(folder / f"{name}-run"))


def changes(found):
    return {name: count for name, count in found.counts.items() if count and name not in ("old", "new", "unchanged")}


def states(found):
    return sorted(zip(found.findings["check"], found.findings["sample_id"], found.findings["state"], found.findings["cause"], strict=True))


LEAK = [("leakage", "val/ant/leaked.png", "persisting", None)]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [(add, {"added": 2}), (relabel, {"relabelled": 2}), (move, {"moved": 1}), (drop, {"removed": 10}), (replace, {"changed": 1})],
)
def test_edits_have_the_right_change_type(first, edit, expected):
    found = version(first, edit)
    assert changes(found) == expected
    assert found.renamed_classes == {}
    assert found.classes_removed == (("cat",) if edit is drop else ())
    assert found.counts["old"] == 31


def test_renamed_class_folder_changes_only_names(first):
    found = version(first, rename_class)
    assert changes(found) == {"renamed": 11}
    assert found.renamed_classes == {"ant": "zebra"}
    assert (found.classes_added, found.classes_removed) == ((), ())
    assert set(found.findings["state"]) == {"persisting"}
    assert found.drift.shift == 0


def test_cause_is_the_change_of_the_image_or_its_partner(first):
    found = version(first, relabel)
    new = found.findings[found.findings["state"] == "new"]
    assert {"conflicting_labels"} <= set(new["check"])
    assert set(new["cause"]) == {"relabelled"}
    assert "val/ant/leaked.png" in set(new["sample_id"])


def test_removed_leak_is_fixed(first):
    def fix(data):
        (data / "val/ant/leaked.png").unlink()

    found = version(first, fix)
    fixed = found.findings[found.findings["state"] == "fixed"]
    assert "leakage" in set(fixed["check"])
    assert set(fixed["cause"]) == {"removed"}
    assert not (found.findings["state"] == "new").any()
    health = found.health.set_index(["part", "name"]).loc[("check", "leakage")]
    assert (health["flagged_old"], health["flagged_new"]) == (2, 0) or (health["flagged_old"], health["flagged_new"]) == (1, 0)


def test_with_another_model_only_certain_kinds_are_compared(first, tmp_path):
    shutil.copytree(first / "first-run", tmp_path / "other")
    record = json.loads((tmp_path / "other/run.json").read_text())
    record["backbone"]["weights_id"] = "another"
    record["version"] = "0.0.1"
    (tmp_path / "other/run.json").write_text(json.dumps(record))
    found = compare(audit.open_run(tmp_path / "other"), audit.open_run(first / "first-run"))
    assert found.drift is None
    assert "leakage" in found.not_compared
    assert "integrity" not in found.not_compared
    assert set(found.findings["kind"]) <= {"identical_bytes", "identical_pixels"}
    assert len(found.warnings) == 2


def test_missing_label_and_split_are_shown(first):
    shown = [line.strip() for line in lines(version(first, lose_label_and_split), limit=1)]
    assert "moved: train/ant/0.png -> 0.png (train -> no split)" in shown
    assert "relabelled: train/ant/0.png -> 0.png (ant -> no label)" in shown


def test_diff_command_prints_text_and_json(first, capsys):
    found = version(first, relabel)
    shown = "\n".join(lines(found, limit=1))
    assert "2 relabelled" in shown
    assert "relabelled: and 1 more" in shown
    assert "(ant -> bee)" in shown
    code = cli.invoke(["diff", str(first / "first-run"), str(first / "relabel-run"), "--json"])
    captured = capsys.readouterr()
    assert code == 0
    assert json.loads(captured.out) == json.loads(json.dumps(document(found)))
    assert cli.invoke(["diff", str(first), str(first / "first-run")]) == 2
    assert "not a run directory" in capsys.readouterr().err


def samples(*rows):
    return pd.DataFrame(rows, columns=["sample_id", "content_id", "split", "label"])


def test_identical_copies_match_by_name_then_by_class():
    old = samples(("a/1", "x", None, "a"), ("a/2", "x", None, "a"), ("b/1", "x", None, "b"))
    new = samples(("a/2", "x", None, "a"), ("b/9", "x", None, "b"))
    assert match(old, new).tolist() == [1, 2]
    assert match(old, old.iloc[::-1].reset_index(drop=True)).tolist() == [2, 1, 0]


def test_unreadable_image_matches_by_name():
    old = samples(("a/1", None, None, "a"), ("a/2", "x", None, "a"))
    assert match(old, samples(("a/1", None, None, "a"), ("a/3", "x", None, "a"))).tolist() == [0, 1]


def test_merged_classes_are_not_renamed():
    old, new = pd.Series(["a", "a", "b", "b"]), pd.Series(["c", "c", "c", "c"])
    assert renamed_names(old, new, np.arange(4)) == {}
    assert renamed_names(old, pd.Series(["c", "c", "b", "b"]), np.arange(4)) == {"a": "c"}
    assert renamed_names(old, pd.Series(["b", "b", "a", "a"]), np.arange(4)) == {}


def test_drift_measures_the_shift_without_chance():
    rng = np.random.default_rng(0)
    one, two = (rng.normal(size=(4000, 16)).astype(np.float16) for _ in range(2))
    assert embedding_drift(one, two).shift < 0.05
    few = [embedding_drift(rng.normal(size=(4, 64)), rng.normal(size=(400, 64))).shift for _ in range(100)]
    assert np.median(few) < 0.15  # 0.5 were chance not subtracted, 0.3 with the spread of four images too small by a quarter
    moved = two.copy()
    moved[:, 0] += 4
    assert embedding_drift(one, moved).shift == pytest.approx(1.0, abs=0.1)  # 4 over the spread sqrt(16)
    moved[0] = np.nan
    assert embedding_drift(one, moved).new_images == 3999
    assert embedding_drift(one, one[:1]) is None
    assert dataclasses.asdict(embedding_drift(one, one, np.arange(10), np.arange(10)))["shift"] == 0

"""The answer key, and a run held against it: counted right where it can be, and said why where it cannot."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import audit
from audit.answer_key import DATASETS, answer_key, recognise
from audit.answer_key.found import compare
from audit.cli import invoke
from audit.errors import ConfigError, SourceError

OPTIONS = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, only=("leakage",))


def photo(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((72, 60), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six images a side and class; train/cat/0 is test/dog/0 and train/cat/9, test/cat/1 is test/cat/7."""
    data = tmp_path_factory.mktemp("data")
    for offset, split in ((0, "train"), (100, "test")):
        for number in range(12):
            path = data / split / ("cat" if number < 6 else "dog") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(offset + number).save(path)
    shutil.copyfile(data / "train/cat/0.png", data / "train/cat/20.png")
    shutil.copyfile(data / "train/cat/0.png", data / "test/dog/21.png")
    shutil.copyfile(data / "test/cat/1.png", data / "test/cat/22.png")
    return audit.scan(data, tmp_path_factory.mktemp("out") / "run", options=OPTIONS)


def found(rows, what):
    (row,) = [row for row in rows if row["what"].startswith(what)]
    return row["found"]


def test_exact_copies_are_counted_by_split_and_label(run):
    rows = compare(run, answer_key("imagenet-1k"), {})
    assert found(rows, "val images with an exact copy in train") == 1
    assert found(rows, "of these under another label") == 1
    assert found(rows, "exact pairs within val") == 1
    assert found(rows, "train images in exact groups") == 2


def test_what_cannot_be_checked_says_why(run):
    rows = compare(run, answer_key("imagenet-1k"), {})
    for row in rows:
        assert (row["found"] is None) == (row["not_checked"] is not None)
    assert any("--labels real=FILE" in row["not_checked"] for row in rows if row["not_checked"])
    assert any("class_overlap" in row["not_checked"] for row in rows if row["not_checked"])


def test_public_label_files_are_read_for_the_images_that_are_here(run, tmp_path):
    (tmp_path / "pairs.csv").write_text("test_index,train_index,verdict,source\n21,0,duplicate,x\n3,3,duplicate,x\n99,0,duplicate,x\n1,1,unsure,x\n")
    (tmp_path / "human.csv").write_text("index,clean_label,aggre_label\n0,cat,cat\n1,cat,dog\n500,cat,dog\n")
    (tmp_path / "votes.json").write_text(
        json.dumps([{"id": 3, "mturk": {"given": 1}}, {"id": 4, "mturk": {"given": 5}}, {"id": 77, "mturk": {"given": 0}}])
    )
    files = {"duplicates": tmp_path / "pairs.csv", "human": tmp_path / "human.csv", "mturk": tmp_path / "votes.json"}
    rows = compare(run, answer_key("cifar-10"), files)
    assert found(rows, "listed test and train") == "1 of 2 here (3 listed)"
    assert found(rows, "train images that people") == 0.5
    assert found(rows, "test labels confirmed") == "0 reported of 1 here (2 confirmed)"


def test_real_labels_are_counted_for_the_images_that_are_here(run, tmp_path):
    (tmp_path / "real.json").write_text(json.dumps([[], [1, 2], [3], [], [5, 6], [7]]))
    rows = compare(run, answer_key("imagenet-1k"), {"real": tmp_path / "real.json"})
    assert found(rows, "val images without any ReaL label") == 2
    assert found(rows, "val images with several") == 2
    (unknown,) = [row for row in rows if row["what"].startswith("val images whose own")]
    assert "2 of 1000 classes" in unknown["not_checked"]


def test_a_file_of_another_form_is_named(run, tmp_path):
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    for key in ("duplicates", "human", "mturk", "real"):
        with pytest.raises(SourceError, match=r"wrong\.csv"):
            compare(run, answer_key("cifar-10"), {key: tmp_path / "wrong.csv"})


def test_datasets_are_known_by_their_labels():
    assert recognise(["cat", "dog"]) == "cifar-10"
    assert recognise(["n01440764", "n02951358"]) == "imagenet-1k"
    assert recognise(["aquarium_fish", "lawn_mower", "pickup_truck", "sweet_pepper", "willow_tree", "bee"]) == "cifar-100"
    assert recognise(["tench", "cat"]) is None
    assert recognise([]) is None
    for name in DATASETS:
        facts = answer_key(name)
        assert len({fact.key for fact in facts}) == len(facts)
        assert all(fact.source and fact.expected for fact in facts)
    with pytest.raises(ConfigError, match="cifar-10"):
        answer_key("cifar10")


def test_the_command_prints_both_sides(run, capsys):
    assert invoke(["verify", str(run.path)]) == 0
    assert "cifar-10" in capsys.readouterr().out
    assert invoke(["verify", str(run.path), "--labels", "humans=x"]) == 2
    assert "did you mean 'human'" in capsys.readouterr().err

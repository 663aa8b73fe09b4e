"""Published label files are read in their original formats, and no code in them is run."""

import json
import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from audit.errors import SourceError
from audit.verify.datasets import find_dataset
from audit.verify.label_files import ListedImage, human_labels, label_sets, listed_pairs, votes

TEN, HUNDRED, IMAGENET = (find_dataset(name) for name in ("cifar-10", "cifar-100", "imagenet-1k"))
SAID = [ListedImage(0, "frog", "frog"), ListedImage(1, "truck", "cat"), ListedImage(2, "truck", "truck")]
NUMBERS = {"clean_label": np.array([6, 9, 9]), "aggre_label": np.array([6, 3, 9]), "worse_label": np.array([0, 0, 0])}


def test_reads_cifair_without_very_similar_pairs(tmp_path):
    path = tmp_path / "duplicates_cifar100.csv"
    path.write_text("TestID,TrainID,Distance,Judgment\n1100,24083,0.0,0\n8688,41141,0.0810,1\n9940,27407,0.3,2\n")
    assert listed_pairs(path) == [(1100, 24083), (8688, 41141)]


def test_reads_only_pairs_with_verdict_duplicate(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("test_index,train_index,verdict,source\n21,0,duplicate,x\n1,1,unsure,x\n2,3,different,x\n")
    assert listed_pairs(path) == [(21, 0)]
    path.write_text("test_index,train_index\n21,0\n1,1\n")
    assert listed_pairs(path) == [(21, 0), (1, 1)]


@pytest.mark.parametrize(
    "text", ["\ufefftest_index,train_index\n21,0\n", "test_index, train_index \n21 , 0\n", "\ufeffTestID, TrainID, Judgment\n21, 0, 1\n"]
)
def test_ignores_byte_order_mark_and_spaces(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    assert listed_pairs(path) == [(21, 0)]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (
            listed_pairs,
            "TestID;TrainID;Judgment\n1;2;0\n",
            "columns test_index, train_index or TestID, TrainID, Judgment, got 'TestID;TrainID;Judgment'",
        ),
        (lambda path: human_labels(path, TEN), "index,label\n0,cat\n", "columns aggre_label or noisy_label or noise_label, got 'index, label'"),
        (lambda path: votes(path, TEN), "index,votes\n0,3\n", "columns index, given or id, given, got 'index, votes'"),
    ],
)
def test_missing_columns_error_names_expected_and_found(tmp_path, read, text, message):
    (tmp_path / "some.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "some.csv")


@pytest.mark.parametrize("row", ["501", "501,13", "501,13,1,1"])
def test_row_of_wrong_length_is_an_error_with_its_line(tmp_path, row):
    (tmp_path / "pairs.csv").write_text(f"TestID,TrainID,Judgment\n500,3,0\n{row}\n")
    with pytest.raises(ValueError, match="line 3: expected 3 values"):
        listed_pairs(tmp_path / "pairs.csv")


def test_repeated_entries_count_once(tmp_path):
    (tmp_path / "pairs.csv").write_text("test_index,train_index\n21,0\n1,1\n21,0\n")
    assert listed_pairs(tmp_path / "pairs.csv") == [(21, 0), (1, 1)]
    (tmp_path / "votes.csv").write_text("index,given\n20,1\n21,3\n20,1\n")
    assert votes(tmp_path / "votes.csv", TEN) == [ListedImage(20, None, wrong=True), ListedImage(21, None)]
    (tmp_path / "human.csv").write_text("index,aggre_label\n20,cat\n20,cat\n")
    assert human_labels(tmp_path / "human.csv", TEN) == [ListedImage(20, None, "cat")]
    (tmp_path / "human.csv").write_text("index,aggre_label\n20,cat\n20,dog\n")
    with pytest.raises(ValueError, match="image 20 is listed twice"):
        human_labels(tmp_path / "human.csv", TEN)


@pytest.mark.parametrize("old", [False, True])
def test_reads_cifar_n_arrays_saved_by_torch(tmp_path, old):
    path = tmp_path / "CIFAR-10_human.pt"
    torch.save(NUMBERS, path, _use_new_zipfile_serialization=not old)
    if old:  # module names of NumPy 1
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert human_labels(path, TEN) == SAID


def test_reads_tensors_like_arrays(tmp_path):
    torch.save({name: torch.from_numpy(values) for name, values in NUMBERS.items()}, tmp_path / "human.pt")
    assert human_labels(tmp_path / "human.pt", TEN) == SAID


@pytest.mark.parametrize("column", ["noisy_label", "noise_label"])
def test_reads_cifar_100n_by_either_column_name(tmp_path, column):
    torch.save({"clean_label": np.array([0, 99]), column: np.array([1, 99])}, tmp_path / "CIFAR-100_human.pt")
    assert human_labels(tmp_path / "CIFAR-100_human.pt", HUNDRED) == [ListedImage(0, "apple", "aquarium_fish"), ListedImage(1, "worm", "worm")]


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_does_not_run_code_in_a_file(tmp_path):
    made = tmp_path / "made"
    for old in (False, True):
        torch.save(NUMBERS | {"more": Attack(made)}, tmp_path / "human.pt", _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match="anything but integer arrays"):
            human_labels(tmp_path / "human.pt", TEN)
    (tmp_path / "human.pt").write_bytes(pickle.dumps(Attack(made)))
    with pytest.raises(ValueError, match="anything but integer arrays"):
        human_labels(tmp_path / "human.pt", TEN)
    np.save(tmp_path / "human.npy", np.array(Attack(made), object), allow_pickle=True)
    with pytest.raises(SourceError):
        human_labels(tmp_path / "human.npy", TEN)
    assert not made.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no file of torch's"])
def test_corrupt_file_is_an_error(tmp_path, content):
    (tmp_path / "human.pt").write_bytes(content)
    with pytest.raises(ValueError, match="corrupt"):
        human_labels(tmp_path / "human.pt", TEN)


def test_refuses_pickled_array_with_working_conversion(tmp_path):
    path = tmp_path / "CIFAR-10_human.npy"
    np.save(path, NUMBERS, allow_pickle=True)
    with pytest.raises(SourceError, match="can run arbitrary code") as caught:
        human_labels(path, TEN)
    command = caught.value.hint.partition("python ")[2]
    subprocess.run([sys.executable, *shlex.split(command)], check=True)
    assert human_labels(tmp_path / "CIFAR-10_human.csv", TEN) == SAID


def test_reads_class_names_and_numbers_alike(tmp_path):
    path = tmp_path / "human.csv"
    path.write_text("index,clean_label,aggre_label\n0,frog,frog\n1,truck,cat\n2,truck,truck\n")
    assert human_labels(path, TEN) == SAID
    pd.DataFrame(NUMBERS).to_csv(path, index=False)
    assert human_labels(path, TEN) == SAID
    path.write_text("index,noisy_label\n7,cat\n")
    assert human_labels(path, TEN) == [ListedImage(7, None, "cat")]


@pytest.mark.parametrize("label", ["10", "-1", "cta", ""])
def test_unknown_class_is_an_error_with_its_name(tmp_path, label):
    (tmp_path / "human.csv").write_text(f"index,aggre_label\n0,{label}\n")
    with pytest.raises(ValueError, match=f"'{label}' is neither a class nor a class number"):
        human_labels(tmp_path / "human.csv", TEN)


def test_reads_votes_as_published_and_as_a_table(tmp_path):
    entry = {"id": 20, "url": "x/20.png", "given_original_label": 7, "given_original_label_name": "horse", "our_guessed_label": 5}
    published = [
        entry | {"id": number, "mturk": {"given": given, "guessed": 0, "neither": 0, "both": 5 - given}} for number, given in ((20, 3), (21, 2))
    ]
    (tmp_path / "cifar10_mturk.json").write_text(json.dumps(published))
    assert votes(tmp_path / "cifar10_mturk.json", TEN) == [ListedImage(20, "horse"), ListedImage(21, "horse", wrong=True)]
    (tmp_path / "votes.csv").write_text("index,given_label,guessed_label,given,guessed,neither,both\n20,horse,dog,3,0,0,2\n52,airplane,cat,0,5,0,0\n")
    assert votes(tmp_path / "votes.csv", TEN) == [ListedImage(20, "horse"), ListedImage(52, "airplane", wrong=True)]


def test_reads_real_labels(tmp_path):
    path = tmp_path / "real.json"
    path.write_text(json.dumps([[], [1, 999, 1], *[[0]] * 49_998]))
    assert label_sets(path, IMAGENET)[:3] == [set(), {1, 999}, {0}]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": 1}, r"expected a list, got \{'a': 1\}"),
        ([[0]] * 10, "expected a list of 50,000 lists of class numbers, one per image, got a list of 10"),
        ([[0], 7, *[[0]] * 49_998], "entry 1: expected a list of class numbers, got 7"),
        ([[0], "123", *[[0]] * 49_998], "entry 1: expected a list of class numbers, got '123'"),
        ([*[[0]] * 49_999, [1.7]], r"entry 49999: 1\.7 is not a class number, an integer from 0 to 999"),
        ([[1000], *[[0]] * 49_999], "entry 0: 1000 is not a class number"),
        ([[3, -1], *[[0]] * 49_999], "entry 0: -1 is not a class number"),
        ([[True], *[[0]] * 49_999], "entry 0: True is not a class number"),
        ([[[5]], *[[0]] * 49_999], "entry 0: a list of 1 is not a class number"),
        ([[]] * 50_000, "every entry is empty"),
    ],
)
def test_invalid_real_labels_are_an_error_with_the_entry(tmp_path, entries, message):
    (tmp_path / "real.json").write_text(json.dumps(entries))
    with pytest.raises((ValueError, TypeError), match=message):
        label_sets(tmp_path / "real.json", IMAGENET)

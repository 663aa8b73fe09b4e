"""The table that ``verify`` prints: expected and found, in any terminal."""

import json

import pytest

from audit.cli import invoke
from audit.commands.verify import side_by_side
from audit.verify.datasets import find_dataset

CIFAR_10 = find_dataset("cifar-10").classes

ROWS = [
    {"what": "val images with an exact copy in train", "expected": "797", "found": 812, "not_checked": None, "source": "Kisel et al. 2024, Flaws"},
    {
        "what": "pairs of the list that the run finds",
        "expected": "262",
        "found": "8 of 32 in the run reported (54 confirmed), and a rather long explanation",
        "not_checked": None,
        "source": "Barz and Denzler 2020, ciFAIR",
    },
    {"what": "canoe's shift", "expected": "1", "found": None, "not_checked": "train/\x1b[31m" + "x" * 90, "source": "Kisel et al. 2024, Flaws"},
]


@pytest.mark.parametrize("width", [20, 30, 60, 72, 80, 100, 120, 300])
def test_lines_fit_the_terminal_without_loss(width):
    lines = side_by_side(ROWS, width)
    assert max(map(len, lines)) <= width
    text = "".join("".join(lines).split())
    for word in ("797", "812", "262", "Kisel", "Denzler", "confirmed"):
        assert word in text
    assert text.count("x") >= 90
    assert "\x1b" not in text


def test_expected_and_found_are_side_by_side():
    lines = side_by_side(ROWS, 120)
    assert lines[0].split() == ["expected", "found", "what", "(source)"]
    assert lines[1].split()[:2] == ["797", "812"]
    starts = {line.index(what) for line, what in ((lines[0], "what"), (lines[1], "val images"))}
    assert len(starts) == 1


def test_narrow_terminal_stacks_expected_and_found():
    assert side_by_side(ROWS[:1], 60) == ["val images with an exact copy in train (Kisel et al. 2024)", "  expected 797", "  found 812"]


@pytest.fixture
def cifar(written):
    return written([(f"{split}/{label}/{at}.png", split, label) for split in ("train", "test") for at, label in enumerate(CIFAR_10)])


def test_command_prints_to_the_width_of_the_terminal(cifar, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert invoke(["verify", str(cifar.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cifar-10: 20 images of 10 of its 10 classes; expected numbers are of the whole dataset"
    assert lines[2].startswith("expected  found")
    assert max(map(len, lines)) <= 90
    monkeypatch.setenv("COLUMNS", "30")
    assert invoke(["verify", str(cifar.path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 30


def test_prints_json(cifar, capsys):
    assert invoke(["verify", str(cifar.path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["dataset"], printed["samples"], printed["classes"]) == ("cifar-10", 20, 10)
    assert [fact["expected"] for fact in printed["facts"]] == ["262", "0.0903", "few", "54"]


def test_unrecognised_labels_need_a_dataset_name(written, capsys):
    run = written([(f"{label}.png", "train", label) for label in ("cat", "dog")])
    assert invoke(["verify", str(run.path)]) == 2
    assert "name it with --dataset: imagenet-1k, cifar-10, cifar-100" in capsys.readouterr().err
    assert invoke(["verify", str(run.path), "--dataset", "cifar-10"]) == 0
    assert "2 images of 2 of its 10 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--labels", "humans=x"], "did you mean 'human'"),
        (["--labels", "human"], "is not KEY=FILE"),
        (["--labels", "real=x"], "no published fact about cifar-10 needs 'real'"),
        (["--labels", "human=x.npy"], "is a pickle"),
        (["--dataset", "cifar"], "no published facts about 'cifar'"),
    ],
)
def test_errors_are_one_line(cifar, capsys, given, message):
    assert invoke(["verify", str(cifar.path), *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("dataset", "key"), [("imagenet-1k", "real"), ("cifar-10", "mturk")])
def test_deeply_nested_json_is_an_error_in_one_line(cifar, tmp_path, capsys, dataset, key):
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    assert invoke(["verify", str(cifar.path), "--dataset", dataset, "--labels", f"{key}={tmp_path / 'deep.json'}"]) == 2
    error = capsys.readouterr().err
    assert "deep.json" in error
    assert "recursion" in error
    assert error.count("\n") == 1

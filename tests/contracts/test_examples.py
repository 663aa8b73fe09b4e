"""The scripts of examples/ run, on a dataset of a few images."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import audit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch, capsys):
    """Return a function that runs one script as ``python NAME ARGUMENTS`` would, in this process; it returns the exit code and the output."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out

    return run


def photo(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two versions of a dataset, scanned; in the second, a copy of an ant is labelled as a bee."""
    folder = tmp_path_factory.mktemp("examples")
    for label, first in (("ant", 0), ("bee", 100)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(4):
            photo(first + number).save(folder / "images" / label / f"{number}.png")
    options = audit.ScanOptions(backbone="embedded", offline=True, workers=1)
    audit.scan(folder / "images", folder / "old", options=options)
    photo(0).save(folder / "images" / "bee" / "wrong.png")
    audit.scan(folder / "images", folder / "new", options=options)
    return folder


def test_every_example_is_tested():
    tests = Path(__file__).read_text(encoding="utf-8")
    assert all(f'example("{path.name}"' in tests for path in EXAMPLES.glob("*.py"))


def test_worst_findings(runs, example):
    """The run directory is up to date, so nothing is computed again."""
    code, output = example("worst_findings.py", runs / "images", runs / "new")
    first, *_, last = output.splitlines()
    assert (code, first.split()[0]) == (0, "error")
    assert "bee/wrong.png" in output
    assert "9 images" in last


def test_new_label_errors(runs, example):
    assert example("new_label_errors.py", runs / "old", runs / "old") == (0, "0 new label errors\n")
    code, output = example("new_label_errors.py", runs / "old", runs / "new")
    assert code == 1
    assert "bee/wrong.png: " in output


def test_too_small(runs, example):
    code, output = example("too_small.py", runs / "new")
    assert (code, len(output.splitlines())) == (0, 9)
    assert "ant/0.png: Only 90 x 70 pixels. " in output


def test_too_small_has_the_shape_of_a_check(runs):
    module = runpy.run_path(str(EXAMPLES / "too_small.py"))
    samples = audit.open_run(runs / "new").samples
    result = module["run"](samples, options=module["Options"]())
    assert result.scores.shape == (len(samples),)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert {finding.kind for finding in result.findings} == set(module["KINDS"])
    assert not module["run"](samples, options=module["Options"](shorter_side=70)).findings

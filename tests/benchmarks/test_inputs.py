"""Invalid inputs of a benchmark end in a one-line error, not a traceback."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def place(tmp_path):
    """Invalid folders and files of every kind, and some valid ones."""
    (tmp_path / "empty").mkdir()
    for folder in ("one/train/cat", "one/test/cat", "named/train/cat", "named/test/cat"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / ("cat.jpg" if folder.startswith("named") else "1.jpg"))
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    point = {"classes": 3, "dimension": 8, "cpu": {"ingest": 1.0, "neighbors": 0.1, "checks": 0.0}, "memory": 1.1}
    for name, sizes in (("one.json", [165]), ("same.json", [165, 165]), ("small.json", [165, 900])):
        (tmp_path / name).write_text(json.dumps([point | {"rows": rows} for rows in sizes]))
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "none.csv").write_text("test_index,train_index,verdict\n7,1,duplicate\n1,1,unsure\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("cost_model.py predict missing.json", "missing.json: is not readable JSON"),
        ("cost_model.py predict text.json", "text.json: is not readable JSON"),
        ("cost_model.py predict other.json", "KeyError: 'rows'"),
        ("cost_model.py predict one.json", "1 points, of 165 images: at least 2 of different sizes are needed"),
        ("cost_model.py predict same.json", "2 points, of 165 images: at least 2 of different sizes are needed"),
        ("cost_model.py predict small.json", "sizes above 50,000 use a different search"),
        ("cost_model.py measure missing run --note new.json", "missing: is not a folder"),
        ("cost_model.py measure empty run --note new.json", "empty: contains no"),
        ("cost_model.py measure one run --note text.json", "text.json: is not readable JSON"),
        ("duplicates.py missing none.csv", "missing/test: is not a folder"),
        ("duplicates.py one missing.csv", "missing.csv: is not a readable CSV"),
        ("duplicates.py one columns.csv", "has no column test_index, train_index, verdict; it has a, b"),
        ("duplicates.py named none.csv", "not named by its number"),
        ("duplicates.py one none.csv", "no test image of one has a pair with verdict 'duplicate'"),
        ("peers.py --cache peers --parts spurious", "--class-folders: not given; parts spurious need it"),
        ("transformations.py missing", "missing: is not a folder"),
        ("transformations.py empty", "empty: contains no .jpeg, .jpg, .png file"),
    ],
)
def test_invalid_input_is_one_line(place, monkeypatch, capsys, command, message):
    script, *arguments = command.split()
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:  # any other exception would be a traceback
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_two_points_predict_similar_sizes(place):
    command = [sys.executable, str(BENCHMARKS / "cost_model.py"), "predict", "small.json", "--sizes", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=place)
    assert "| 2,000 |" in done.stdout
    assert done.stderr == ""

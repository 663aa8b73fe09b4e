"""Wrong or too few inputs of a measurement end in one line that names them, not in a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def place(tmp_path):
    """Folders and files of every wrong kind, and some that are right."""
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
    ("command", "said"),
    [
        ("cost_model.py predict missing.json", "missing.json: is no JSON"),
        ("cost_model.py predict text.json", "text.json: is no JSON"),
        ("cost_model.py predict other.json", "KeyError: 'rows'"),
        ("cost_model.py predict one.json", "1 points, of 165 images: at least 2 of different sizes are needed"),
        ("cost_model.py predict same.json", "2 points, of 165 images: at least 2 of different sizes are needed"),
        ("cost_model.py predict small.json", "sizes above 50,000 need a point above it"),
        ("cost_model.py measure missing run --note new.json", "missing: is no folder"),
        ("cost_model.py measure empty run --note new.json", "empty: has no image"),
        ("cost_model.py measure one run --note text.json", "text.json: is no JSON"),
        ("duplicates.py missing none.csv", "missing/test: is no folder"),
        ("duplicates.py one missing.csv", "missing.csv: is no CSV"),
        ("duplicates.py one columns.csv", "has no column test_index, train_index, verdict; it has a, b"),
        ("duplicates.py named none.csv", "is not named by its number"),
        ("duplicates.py one none.csv", "no test image of one has a pair whose verdict is 'duplicate'"),
        ("multi_object.py missing run", "missing: is no folder"),
        ("multi_object.py one run", "has images of one class only"),
        ("peers.py --cache peers --parts spurious", "--class-folders: not given; parts spurious need it"),
        ("transformations.py missing", "missing: is no folder"),
        ("transformations.py empty", "empty: has no image that ends in .jpeg, .jpg, .png"),
    ],
)
def test_what_cannot_be_measured_says_why_in_one_line(place, command, said):
    script, *arguments = command.split()
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_points_of_two_sizes_predict_sizes_of_their_kind(place):
    command = [sys.executable, str(BENCHMARKS / "cost_model.py"), "predict", "small.json", "--sizes", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=place)
    assert "| 2,000 |" in done.stdout
    assert done.stderr == ""

"""Scans with the user's predictions, through the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit import cli, open_run

PER_CLASS = 6


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Twelve images of two classes; according to the predictions, bee number 0 shows an ant."""
    for label in ("ant", "bee"):
        for number in range(PER_CLASS):
            path = tmp_path / "data" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = np.random.default_rng(number + 100 * (label == "bee")).integers(0, 256, (7, 9, 3), np.uint8)
            Image.fromarray(coarse).resize((72, 60), Image.Resampling.BICUBIC).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def table():
    ids = [f"{label}/{number}.png" for label in ("ant", "bee") for number in range(PER_CLASS)]
    bee = np.repeat([0.02, 0.98], PER_CLASS)
    bee[PER_CLASS] = 0.03
    return pd.DataFrame({"sample_id": ids, "ant": 1 - bee, "bee": bee})


def scan(capsys, *more):
    code = cli.invoke(
        ["scan", "data", "--out", "run", "--backbone", "embedded", "--device", "cpu", "--only", "label_errors", "--no-color", *map(str, more)]
    )
    captured = capsys.readouterr()
    return code, captured.err


def suspects(run="run"):
    found = open_run(run).findings
    return found.loc[found["check"] == "label_errors", ["sample_id", "suggested_label"]].to_numpy().tolist()


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.npy"])
def test_uses_the_file_instead_of_computing_predictions(data, capsys, name):
    if name == "p.npy":
        np.save(name, table()[["ant", "bee"]].to_numpy())
    else:
        shuffled = table().sample(frac=1, random_state=0)[["bee", "sample_id", "ant"]]
        shuffled.to_csv(name, index=False) if name == "p.csv" else shuffled.to_parquet(name)
    code, err = scan(capsys, "--predictions", name)
    assert code == 0, err
    assert suspects() == [["bee/0.png", "ant"]]
    stage = open_run("run").record["stages"]["predictions"]
    assert (stage["source"], stage["covered"], stage["warnings"]) == (name, 12, [])
    assert (stage["self_test"]["changed"], set(stage["self_test"]["cannot_help"]) <= {"ant", "bee"}) == (2, True)
    np.testing.assert_allclose(open_run("run").predictions, table()[["ant", "bee"]], atol=1e-6)


def test_configuration_file_names_predictions(data, capsys):
    table().to_csv("p.csv", index=False)
    (data.parent / "audit.toml").write_text('predictions = "p.csv"\n')
    assert scan(capsys)[0] == 0
    assert suspects() == [["bee/0.png", "ant"]]


def test_changed_file_is_read_again_and_without_the_option_predictions_are_computed(data, capsys):
    table().to_csv("p.csv", index=False)
    assert scan(capsys, "--predictions", "p.csv")[0] == 0
    before = (data.parent / "run/predictions.npy").stat().st_mtime_ns
    assert scan(capsys, "--predictions", "p.csv")[0] == 0
    assert (data.parent / "run/predictions.npy").stat().st_mtime_ns == before
    changed = table()
    changed.loc[[1, 6], ["ant", "bee"]] = [[0.01, 0.99], [0.1, 0.9]]
    changed.to_csv("p.csv", index=False)
    assert scan(capsys, "--predictions", "p.csv")[0] == 0
    assert suspects() == [["ant/1.png", "bee"]]
    assert scan(capsys)[0] == 0
    assert "members" in open_run("run").record["stages"]["predictions"]


def test_warnings_are_shown_by_every_scan(data, capsys):
    table().drop(index=[2, 9]).assign(wasp=0.0).to_csv("p.csv", index=False)
    for _ in range(2):
        code, err = scan(capsys, "--predictions", "p.csv")
        assert code == 0
        assert "predictions: 2 of 12 samples have no prediction in p.csv and are not judged." in err
        assert "1 columns of p.csv match no class of the dataset and are ignored: wasp." in err
    assert len(open_run("run").record["stages"]["predictions"]["warnings"]) == 2
    assert np.flatnonzero(np.isnan(open_run("run").scores("label_errors"))).tolist() == [2, 9]


def test_labels_without_a_column_are_not_judged(data, capsys):
    (data / "wasp").mkdir()
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (60, 72, 3), np.uint8)).save(data / "wasp/0.png")
    table().to_csv("p.csv", index=False)
    code, err = scan(capsys, "--predictions", "p.csv")
    assert code == 0
    assert "1 of 3 classes have no column in p.csv; images with these labels are not judged: 'wasp'." in err
    assert suspects() == [["bee/0.png", "ant"]]
    assert np.flatnonzero(np.isnan(open_run("run").scores("label_errors"))).tolist() == [12]


def test_notes_that_predictions_are_not_used_without_labels(data, capsys):
    (data / "bee").rename(data / "ant" / "more")
    table().to_csv("p.csv", index=False)
    for path in (data / "ant" / "more").iterdir():
        path.rename(data / f"{path.stem}.png")
    for path in (data / "ant").glob("*.png"):
        path.rename(data / f"a{path.stem}.png")
    code, err = scan(capsys, "--predictions", "p.csv", "--split", "train")
    assert code == 0, err
    assert "--predictions is not used: no labels in this dataset" in err


BAD = {
    "missing.npy": (None, "missing.npy: no such file"),
    "folder.csv": ("folder", "folder.csv: is a folder"),
    "text.txt": ("text", "text.txt: unknown file type '.txt'"),
    "shape.npy": (np.full((11, 2), 0.5), "shape.npy: has shape (11, 2), but the dataset has 12 samples and 2 classes"),
    "pickle.npy": (np.array([{}], object), "pickle.npy: not a NumPy array"),
    "logits.npy": (np.full((12, 2), 3.5), "logits.npy: row 0: 3.5 is not a probability"),
    "nan.npy": (np.where(np.arange(24).reshape(12, 2) == 4, np.nan, 0.5), "nan.npy: row 2: some classes are NaN"),
    "sums.csv": (table().assign(ant=0.9), "sums.csv:9: sums to 1.88, not 1"),
    "ids.csv": (table().assign(sample_id=range(12)), "ids.csv: matches no sample of the dataset; its first id is '0'"),
    "classes.csv": (table().rename(columns={"ant": "Ant"}), "classes.csv: no column for class 'ant' (1 of 2 classes have no column)"),
    "broken.parquet": ("text", "broken.parquet: cannot be read"),
    "broken.csv": ("a,b\n1,2,3\n4\n", "broken.csv: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_a_one_line_error_and_loses_no_progress(data, capsys, name):
    content, message = BAD[name]
    path = data.parent / name
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, pd.DataFrame):
        content.to_csv(path, index=False)
    elif content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    code, err = scan(capsys, "--predictions", name, "--quiet")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    table().to_csv("good.csv", index=False)
    assert scan(capsys, "--predictions", "good.csv")[0] == 0
    assert json.loads((data.parent / "run/run.json").read_text())["finished"]


def test_images_with_several_labels_are_judged(tmp_path, capsys, monkeypatch):
    draw = np.random.default_rng(0)
    rows = []
    for number in range(90):
        halves = [("red", "green", "blue")[at] for at in draw.integers(0, 3, 2)]
        pixels = draw.integers(0, 60, (60, 80, 3), np.uint8)
        for side, name in enumerate(halves):
            pixels[:, 40 * side : 40 * side + 40, ("red", "green", "blue").index(name)] += 190
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
        rows.append({"path": f"{number:02}.png", "labels": "|".join(sorted(set(halves)))})
    shown = rows[3]["labels"].split("|")
    absent = next(name for name in ("red", "green", "blue") if name not in shown)
    rows[3]["labels"] = "|".join([*shown, absent])
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    monkeypatch.chdir(tmp_path)
    arguments = ["scan", "images.csv", "--out", "run", "--backbone", "embedded", "--device", "cpu", "--no-color", "--only", "label_errors"]
    assert cli.invoke(arguments) == 0, capsys.readouterr().err
    run = open_run("run")
    assert run.classes == ["blue", "green", "red"]
    assert run.record["checks"]["label_errors"]["state"] == "done"
    assert 3 in np.argsort(-run.scores("label_errors"))[:5]
    message = run.findings.set_index("sample_id").loc["03.png", "message"]
    assert f"{absent!r} does not fit. Remove it." in message
    own = pd.DataFrame(np.full((90, 3), 0.5), columns=["red", "green", "blue"])
    own.to_parquet("p.parquet")
    assert cli.invoke([*arguments, "--predictions", "p.parquet"]) == 0, capsys.readouterr().err
    np.testing.assert_allclose(open_run("run").predictions, 0.5)


@pytest.mark.parametrize("changed", ["audit.pipeline.predictions", "audit.checks.label_errors"])
def test_changed_code_runs_again(data, capsys, monkeypatch, changed):
    from audit.pipeline import code_digest

    assert scan(capsys)[0] == 0
    run = data.parent / "run"
    files = [run / "predictions.npy", run / "scores/label_errors.npy"]
    before = [path.stat().st_mtime_ns for path in files]
    of_source = code_digest._module
    monkeypatch.setattr(code_digest, "_module", lambda name: (of_source(name)[0] + "changed" * (name == changed), of_source(name)[1]))
    assert scan(capsys)[0] == 0
    again = [path.stat().st_mtime_ns != old for path, old in zip(files, before, strict=True)]
    assert again == [changed == "audit.pipeline.predictions", True]

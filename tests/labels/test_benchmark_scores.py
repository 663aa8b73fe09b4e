import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit import cli, open_run
from audit.labels.benchmark_scores import corrections, ranking_changes, scores
from audit.review.decisions import Decisions, decide

CLASSES = ["ant", "bee"]
NOTHING = pd.DataFrame({"row": [], "kind": [], "suggested_label": [], "action": [], "label": []})


def findings(*rows):
    return pd.DataFrame(rows, columns=["row", "kind", "suggested_label"])


def decided(*rows):
    return pd.DataFrame(rows, columns=["row", "action", "label"])


def test_suggestions_apply_without_decisions():
    found = corrections(
        np.array([0, 0, 0, 0, 1, -1]),
        findings((0, "wrong", "bee"), (1, "also_valid", "bee"), (2, "unclear", None), (3, "wrong", "bee"), (4, "wrong", "ant")),
        decided((3, "keep", None), (4, "drop", None), (5, "relabel", "ant")),
        CLASSES,
    )
    assert found.right.tolist() == [[1, -1], [0, 1], [0, -1], [0, -1], [1, -1], [0, -1]]
    assert found.kept.tolist() == [True, True, False, True, False, True]
    assert (found.reviewed, found.suggested) == (2, 3)


def test_relabelling_to_unknown_class_excludes_the_image():
    assert corrections(np.array([0]), NOTHING, decided((0, "relabel", "wasp")), CLASSES).kept.tolist() == [False]


def test_scores_every_variant():
    given = np.array([0, 0, 1, 1])
    corrected = corrections(given, findings((3, "wrong", "ant")), NOTHING, CLASSES)
    found = scores({"a": np.array([0, 0, 1, 0])}, given, corrected, np.array([True, False, False, False])).set_index("variant")
    assert found["right"].to_dict() == {"as_is": 3, "corrected": 4, "without_leaks": 2, "corrected_without_leaks": 3}
    assert found["images"].to_dict() == {"as_is": 4, "corrected": 4, "without_leaks": 3, "corrected_without_leaks": 3}
    assert ((found["low"] < found["accuracy"]) & (found["accuracy"] <= found["high"])).all()
    assert set(scores({"a": given}, given, corrected, None)["variant"]) == {"as_is", "corrected"}


def test_models_are_compared_on_the_same_images():
    given = np.array([0, 1, 1])
    found = scores({"a": np.array([0, -1, 1]), "b": np.array([0, 1, 0])}, given, corrections(given, NOTHING, NOTHING, CLASSES), None)
    assert set(found["images"]) == {2}


def test_reversed_order_is_reported_once():
    given = np.zeros(100, int)
    truth = given.copy()
    truth[:20] = 1
    found = ranking_changes(
        {"memorised": given, "right": truth},
        given,
        corrections(given, findings(*[(row, "wrong", "bee") for row in range(20)]), NOTHING, CLASSES),
        None,
    )
    assert [(change["variant"], change["ahead"], change["behind"]) for change in found] == [("corrected", "right", "memorised")]
    assert (found[0]["before"], found[0]["after"]) == (-0.2, 0.2)
    assert found[0]["after_interval"][0] > 0
    assert not ranking_changes({"a": given, "b": given}, given, corrections(given, NOTHING, NOTHING, CLASSES), None)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A run with 12 train and 12 test images; test/ant/0 is also in train, test/bee/0 shows an ant, and the predictions say so."""
    folder = tmp_path_factory.mktemp("benchmark")
    number = 0
    for split in ("train", "test"):
        for label in CLASSES:
            for at in range(6):
                path = folder / "data" / split / label / f"{at}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                coarse = np.random.default_rng(number if (split, label, at) != ("test", "ant", 0) else 0).integers(0, 256, (7, 9, 3), np.uint8)
                Image.fromarray(coarse).resize((72, 60), Image.Resampling.BICUBIC).save(path)
                number += 1
    ids = sorted(str(path.relative_to(folder / "data")) for path in (folder / "data").rglob("*.png"))
    table = pd.DataFrame({"sample_id": ids, "bee": [0.98 if "bee" in name else 0.02 for name in ids]})
    table.loc[table["sample_id"] == "test/bee/0.png", "bee"] = 0.01
    table["ant"] = 1 - table["bee"]
    table.to_csv(folder / "own.csv", index=False)
    arguments = ["scan", folder / "data", "--out", folder / "run", "--backbone", "embedded", "--device", "cpu", "--predictions", folder / "own.csv"]
    assert cli.invoke([*map(str, arguments), "--only", "label_errors", "--only", "leakage", "--quiet"]) == 0
    bee = np.repeat([0.1, 0.9], 6)
    np.save(folder / "memorised.npy", np.column_stack([1 - bee, bee]))
    bee[6] = 0.1
    np.save(folder / "right.npy", np.column_stack([1 - bee, bee]))
    return folder


def benchmark(capsys, folder, *more):
    code = cli.invoke(["benchmark", str(folder / "run"), *map(str, more)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_prints_scores_of_every_variant(scanned, capsys):
    models = ("--predictions", scanned / "memorised.npy", "--predictions", scanned / "right.npy")
    code, out, err = benchmark(capsys, scanned, *models, "--no-color")
    assert code == 0, err
    assert "test: 12 images, 0 corrected by reviewers, 1 as suggested, 1 leaked" in out
    assert "right is ahead of memorised on corrected by 8.33%" in out
    assert "review them before you rely on the corrected scores" in err
    assert max(map(len, out.splitlines())) <= 140
    code, out, _ = benchmark(capsys, scanned, *models, "--json")
    found = json.loads(out)
    assert (found["split"], found["images"], found["leaked"], found["suggested"]) == ("test", 12, 1, 1)
    accuracy = {(one["model"], one["variant"]): one["right"] for one in found["scores"]}
    assert accuracy["memorised", "as_is"] == accuracy["right", "corrected"] == 12
    assert accuracy["right", "corrected_without_leaks"] == 11


def test_tables_by_sample_id_may_cover_the_whole_dataset(scanned, capsys):
    code, out, err = benchmark(capsys, scanned, "--predictions", scanned / "own.csv", "--split", "test", "--json")
    assert code == 0, err
    assert [one["right"] for one in json.loads(out)["scores"]] == [11, 12, 10, 11]


def test_decisions_override_suggestions(scanned, capsys):
    run = open_run(scanned / "run")
    finding = run.findings[run.findings["check"] == "label_errors"]
    log = Decisions(run.path)
    log.append(decide(run, finding, "keep", reviewer="one"))
    _, out, _ = benchmark(capsys, scanned, "--predictions", scanned / "right.npy", "--json")
    log.undo("one")
    found = json.loads(out)
    assert (found["reviewed"], found["suggested"]) == (0, 0)
    assert [one["right"] for one in found["scores"]][:2] == [11, 11]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--predictions", "missing.npy"], "missing.npy: no such file"),
        (["--predictions", "right.npy", "--split", "tset"], "the run has no split 'tset'; did you mean 'test'?"),
        (["--predictions", "wrong.npy"], "has shape (5, 2), but the dataset has 24 samples"),
        (["--predictions", "train.csv"], "train.csv: has no prediction for any image of the benchmark"),
        ([], "Missing option '--predictions'"),
    ],
)
def test_invalid_input_is_one_error(scanned, capsys, monkeypatch, more, message):
    monkeypatch.chdir(scanned)
    np.save("wrong.npy", np.full((5, 2), 0.5))
    own = pd.read_csv("own.csv")
    own[own["sample_id"].str.startswith("train")].to_csv("train.csv", index=False)
    code, _, err = benchmark(capsys, scanned, *more)
    assert code == 2
    assert message in err

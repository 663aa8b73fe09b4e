"""Occlusion maps: evidence for a class is where the class is, and the command writes a PNG."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit import cli
from audit.errors import RunError
from audit.explain.saliency import _mean_of, classes_of, drawn, saliency


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A run with two classes, and one image with a cat on the left and coffee on the right."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("halves")
    cat, coffee = (Image.fromarray(getattr(data, name)()).convert("RGB") for name in ("chelsea", "coffee"))
    for label, photo in (("cat", cat), ("coffee", coffee)):
        (folder / "data" / label).mkdir(parents=True)
        for turn in range(6):
            photo.rotate(turn).resize((200, 200)).save(folder / "data" / label / f"{turn}.png")
    both = Image.new("RGB", (200, 200))
    both.paste(cat.resize((200, 200)).crop((50, 0, 150, 200)), (0, 0))
    both.paste(coffee.resize((200, 200)).crop((50, 0, 150, 200)), (100, 0))
    both.save(folder / "data" / "coffee" / "both.png")
    (folder / "data" / "coffee" / "broken.png").write_bytes(b"not an image")
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, workers=1, only=("integrity", "label_errors"))
    return audit.scan(folder / "data", folder / "run", options=options)


def row_of(run, name):
    return run.samples["sample_id"].tolist().index(name)


def test_each_half_is_evidence_for_its_class(halves):
    found = saliency(halves, row_of(halves, "coffee/both.png"), ["cat", "coffee"])
    left, right = slice(0, 5), slice(8, 13)
    assert found.maps["cat"][:, left].mean() > found.maps["cat"][:, right].mean()
    assert found.maps["coffee"][:, right].mean() > found.maps["coffee"][:, left].mean()
    sheet = Image.open(io.BytesIO(drawn(found)))
    assert sheet.size == (960, 320)
    red = np.asarray(sheet.crop((320, 0, 640, 320)), np.int16)
    redness = (red[..., 0] - red[..., 2]).mean(axis=0)
    assert redness[:120].mean() > redness[200:].mean()


def test_classes_are_the_label_and_the_most_likely_other(halves):
    assert classes_of(halves, row_of(halves, "coffee/both.png")) == ["coffee", "cat"]


def test_class_mean_is_independent_of_order(monkeypatch):
    monkeypatch.setattr("audit.explain.saliency._EXAMPLES", 20)
    draw = np.random.default_rng(0)
    content = [f"{number:032x}" * 2 for number in draw.permutation(101)]
    samples = pd.DataFrame({"label": "cat", "outcome": "ok", "content_id": content})
    embeddings = draw.normal(size=(101, 8)).astype(np.float16)
    order = np.append(0, 1 + draw.permutation(100))
    first = _mean_of(SimpleNamespace(embeddings=embeddings), samples, "cat", 0)
    again = _mean_of(SimpleNamespace(embeddings=embeddings[order]), samples.iloc[order].reset_index(drop=True), "cat", 0)
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_refuses_undecodable_images_and_unknown_classes(halves):
    with pytest.raises(RunError, match="could not be decoded"):
        saliency(halves, row_of(halves, "coffee/broken.png"), ["cat"])
    with pytest.raises(RunError, match="no other image has the label 'dog'"):
        saliency(halves, row_of(halves, "cat/0.png"), ["dog"])


def test_explain_writes_the_png(halves, tmp_path, capsys):
    path = tmp_path / "maps.png"
    assert cli.invoke(["explain", str(halves.path), "both.png", "--saliency", str(path)]) == 0
    with Image.open(path) as image:
        assert image.size == (960, 320)
    printed = capsys.readouterr().err
    assert "evidence for (red) and against (blue) 'coffee', 'cat'" in printed
    assert "a model you train may look elsewhere" in printed


def test_refuses_a_name_that_is_not_png(halves, tmp_path, capsys):
    path = tmp_path / "maps.txt"
    assert cli.invoke(["explain", str(halves.path), "both.png", "--saliency", str(path)]) == 2
    assert f"{path}: saliency maps are PNG files; choose a name that ends in .png" in capsys.readouterr().err
    assert not path.exists()

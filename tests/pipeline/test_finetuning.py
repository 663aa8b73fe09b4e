"""``--predict finetune`` in a whole scan: what it refuses, what it stores, and that it resumes."""

import numpy as np
import pytest
from PIL import Image

import audit
from audit.config import ScanOptions
from audit.errors import ConfigError
from audit.predictions import finetune
from audit.sources import SourceOptions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(3)
    for number in range(40):
        label = "ab"[number % 2]
        (folder / label).mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (5, 5, 3), np.uint8)
        pixels[:, :, number % 2] = 255
        Image.fromarray(pixels).resize((40, 40)).save(folder / label / f"{number // 4:03}_{number}.png")
    (folder / "a" / "broken.png").write_bytes(b"no image")
    return folder


def options(**changes):
    only = ("label_errors",)
    return ScanOptions(
        **{"backbone": "embedded", "device": "cpu", "workers": 1, "only": only, "predict": "finetune", "finetune_pixels": 32} | changes
    )


def test_fine_tunes_resumes_and_is_not_repeated(data, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "_EPOCHS", (1, 1))
    real, trained = finetune.train_fold, []

    def dying(*arguments):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arguments[5])
        return real(*arguments)

    monkeypatch.setattr(finetune, "train_fold", dying)
    with pytest.raises(KeyboardInterrupt):
        audit.scan(data, tmp_path / "run", options=options())
    monkeypatch.setattr(finetune, "train_fold", lambda *arguments: trained.append(arguments[5]) or real(*arguments))
    run = audit.scan(data, tmp_path / "run", options=options())
    assert trained == [0, 1, 2, 3, 4]
    state = run.record["stages"]["predictions"]
    assert (state["method"], state["pixels"], state["trained_on"]) == ("finetune", 32, 40)
    assert 0 <= state["weight"] <= 1
    assert not (tmp_path / "run" / "state" / "finetune").exists()
    rows = run.columns("outcome")["outcome"].to_numpy() == "ok"
    np.testing.assert_allclose(run.predictions[rows].sum(1), 1, atol=1e-5)
    assert np.isnan(run.predictions[~rows]).all()
    assert run.record["checks"]["label_errors"]["state"] == "done"
    audit.scan(data, tmp_path / "run", options=options())
    assert len(trained) == 5
    again = audit.scan(data, tmp_path / "run", options=options(predict="embeddings", finetune_pixels=None))
    assert "method" not in again.record["stages"]["predictions"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"predict": "tune"}, "unknown method 'tune'"),
        ({"predict": "embeddings"}, "32 has no effect; add --predict finetune"),
        ({"finetune_pixels": 8}, "8 is out of range; use 32 to 1024"),
        ({"predictions": "p.npy"}, "'finetune' contradicts predictions"),
        ({"backbone": "auto", "embeddings": "e.npy"}, "'finetune' contradicts embeddings"),
    ],
)
def test_refuses_contradictions(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        options(**changes)


def test_refuses_several_labels_per_image(data, tmp_path):
    rows = [f"{path.relative_to(data)},{'a|b' if number % 2 else 'b'}" for number, path in enumerate(sorted(data.rglob("*.png")))]
    (data / "m.csv").write_text("\n".join(["path,labels", *rows]))
    with pytest.raises(ConfigError, match="images of this dataset have several labels each; use --predict embeddings"):
        audit.scan(data / "m.csv", tmp_path / "run", options=options(only=()))


def test_groups_are_not_divided(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(finetune, "_EPOCHS", (1, 1))
    real = finetune.train_fold

    def watched(work, rows, *rest):
        seen.append((set(work.groups[rows]), set(work.groups)))
        return real(work, rows, *rest)

    monkeypatch.setattr(finetune, "train_fold", watched)
    audit.scan(data, tmp_path / "run", options=options(source=SourceOptions(group_pattern=r"(\d+)_")))
    assert len(seen) == 5
    assert all(len(trained) <= 9 for trained, _ in seen)
    assert {len(all_of) for _, all_of in seen} == {11}

"""Models of the user: timm, ONNX, TorchScript, files of weights and given embeddings; each goes through a whole scan, and bad files are refused."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit.backbones import choose, of_run
from audit.backbones.placement import place
from audit.backbones.runtime import prepare
from audit.errors import AuditError, BackboneError, ConfigError

SIDE = 64
ARCHITECTURE = "resnet10t"
DESCRIPTION = {"input_size": SIDE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters warn about their own internals


@dataclass(frozen=True)
class Models:
    folder: Path
    expected: np.ndarray
    """Embeddings of `batch`."""

    def copied(self, name: str, folder: Path, **description: object) -> str:
        """Copy a model and its description, some of whose keys are replaced; None removes one."""
        file = self.folder / name
        content = json.loads(file.with_suffix(".json").read_text()) | description
        shutil.copy(file, folder / name)
        (folder / name).with_suffix(".json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return str(folder / name)


def batch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One small network, saved in every format."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = timm.create_model(ARCHITECTURE, num_classes=7).eval()
    save_file(network.state_dict(), folder / "weights.safetensors")
    network.reset_classifier(0)
    pixels = torch.zeros(2, 3, SIDE, SIDE)
    torch.onnx.export(network, (pixels,), folder / "model.onnx", dynamo=True, external_data=False, verbose=False)
    torch.jit.save(torch.jit.trace(network, pixels), folder / "model.pt")
    for name in ("model.json",):
        (folder / name).write_text(json.dumps(DESCRIPTION))
    (folder / "weights.json").write_text(json.dumps({"architecture": f"timm:{ARCHITECTURE}", **DESCRIPTION}))
    with torch.inference_mode():
        expected = network((torch.from_numpy(batch()).permute(0, 3, 1, 2) - 127.5) / 127.5).numpy()
    return Models(folder, expected)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve images of two classes, with one copy."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(3)
    for label in ("cat", "dog"):
        (folder / label).mkdir()
        for number in range(6):
            Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)).resize((96, 80)).save(folder / label / f"{number}.png")
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    return folder


def scan(data: Path, out: Path, **options: object) -> audit.Run:
    return audit.scan(data, out, options=audit.ScanOptions(device="cpu", offline=True, workers=1, **options))


def requested(models: Models, kind: str) -> dict[str, str]:
    if kind == "timm":
        return {"backbone": f"timm:{ARCHITECTURE}", "checkpoint": str(models.folder / "weights.safetensors")}
    return {"backbone": str(models.folder / {"onnx": "model.onnx", "torchscript": "model.pt", "weights": "weights.safetensors"}[kind])}


@pytest.mark.parametrize("kind", ["timm", "onnx", "torchscript", "weights"])
def test_scans_with_a_model_of_the_user(models, data, tmp_path, kind):
    run = scan(data, tmp_path / "run", **requested(models, kind))
    assert run.record["backbone"]["dimension"] == 512
    assert np.isfinite(run.embeddings).all()
    assert run.record["checks"]["label_errors"]["state"] == run.record["checks"]["exact_duplicates"]["state"] == "done"
    assert "identical_bytes" in set(run.findings["kind"])
    assert of_run(run.record).weights_id == run.record["backbone"]["weights_id"]


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "weights"])
def test_embeds_like_the_network(models, kind):
    backbone = choose(requested(models, kind)["backbone"]).backbone
    placement = place(backbone, device="cpu", precision="float32", note=lambda _: None)
    embedder = prepare(backbone, placement, lambda _: None).open(1)
    assert np.abs(embedder.embed(batch()) - models.expected).max() < 1e-3
    order = np.random.default_rng(1).permutation(11)
    assert np.array_equal(embedder.embed(batch()[order]), embedder.embed(batch())[order])
    assert embedder.embed(batch()[:0]).shape == (0, 512)


def test_changed_file_is_another_model(models, data, tmp_path):
    path = models.copied("model.onnx", tmp_path)
    scan(data, tmp_path / "run", backbone=path)
    record = audit.open_run(tmp_path / "run").record
    content = bytearray(Path(path).read_bytes())
    shutil.copy(models.folder / "model.pt", tmp_path / "other.pt")
    shutil.copy(models.folder / "model.json", tmp_path / "other.json")
    assert choose(str(tmp_path / "other.pt")).backbone.weights_id != record["backbone"]["weights_id"]
    import onnx

    changed = onnx.load_from_string(bytes(content))
    changed.producer_name = "another"
    Path(path).write_bytes(changed.SerializeToString())
    with pytest.raises(BackboneError, match="is not the model file of this run"):
        of_run(record)
    assert scan(data, tmp_path / "run", backbone=path).record["backbone"]["weights_id"] != record["backbone"]["weights_id"]


BAD = {
    "model.onnx": [
        ({"input_size": 32}, "takes images of 64 x 64, not 32 x 32; set input_size in its description"),
        ({"input_size": None}, "input_size is missing"),
        ({"mean": [127, 127, 127]}, "mean: [127, 127, 127] is not three numbers up to 1"),
        ({"std": [0, 0, 0]}, "std: [0, 0, 0] is not three numbers up to 1"),
        ({"meen": [0, 0, 0]}, "unknown key 'meen'; did you mean 'mean'?"),
        ({"output": "logits"}, "has no output 'logits'"),
        ({"resize": 32}, "resize: 32 is less than input_size, 64"),
        ({"input_size": "64"}, "input_size: '64' is not a number of pixels"),
    ],
    "model.pt": [({"output": "y"}, "a TorchScript file has no named outputs")],
    "weights.safetensors": [
        ({"architecture": "timm:resnet18"}, "its weights do not fit timm's resnet18: lacks"),
        ({"architecture": "timm:resnet10x"}, "timm has no architecture 'resnet10x'; did you mean"),
        ({"architecture": "keras:x"}, "unknown architecture 'keras:x'; use timm:NAME or clip:ARCHITECTURE"),
        ({"architecture": None}, "names no architecture"),
    ],
}


@pytest.mark.parametrize(("name", "description", "problem"), [(name, *case) for name, cases in BAD.items() for case in cases])
def test_refuses_a_model_that_its_description_does_not_fit(models, data, tmp_path, name, description, problem):
    path = models.copied(name, tmp_path, **description)
    with pytest.raises(BackboneError) as refused:
        scan(data, tmp_path / "run", backbone=path)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt", "weights.safetensors"])
def test_refuses_what_is_not_a_model(models, data, tmp_path, name):
    path = Path(models.copied(name, tmp_path))
    path.write_bytes(b"not a model" * 50)
    with pytest.raises(BackboneError, match=r"not an ONNX model|not a TorchScript model|not a file of weights") as refused:
        scan(data, tmp_path / "run", backbone=str(path))
    assert "\n" not in str(refused.value)
    path.with_suffix(".json").unlink()
    with pytest.raises(BackboneError, match=r"its description \w+.json is missing"):
        scan(data, tmp_path / "run", backbone=str(path))
    path.unlink()
    with pytest.raises(BackboneError, match="no such model file"):
        scan(data, tmp_path / "run", backbone=str(path))


def test_refuses_outputs_that_are_no_embeddings(models, tmp_path):
    import torch

    class Maps(torch.nn.Module):
        def forward(self, pixels):
            return pixels

    class Nothing(torch.nn.Module):
        def forward(self, pixels):
            return pixels.mean((2, 3)) * float("nan")

    for network, problem in ((Maps(), r"returns float32 \(8, 3, 64, 64\) for 8 images"), (Nothing(), "returns NaN")):
        torch.jit.save(torch.jit.trace(network, torch.zeros(2, 3, SIDE, SIDE), check_trace=False), tmp_path / "model.pt")
        (tmp_path / "model.json").write_text(json.dumps(DESCRIPTION))
        with pytest.raises(BackboneError, match=problem):
            choose(str(tmp_path / "model.pt"))


def test_onnx_file_refers_to_no_other_file(models, tmp_path):
    import onnx

    model = onnx.load(models.folder / "model.onnx")
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    shutil.copy(models.folder / "model.json", tmp_path / "model.json")
    with pytest.raises(BackboneError, match="not an ONNX model that runs on its own"):
        choose(str(tmp_path / "model.onnx"))


def test_extra_backbones_add_features_for_labels_only(models, data, tmp_path):
    alone = scan(data, tmp_path / "alone", backbone="embedded")
    both = scan(data, tmp_path / "both", backbone=f"embedded,{models.folder / 'model.onnx'}")
    assert np.array_equal(alone.embeddings, both.embeddings)
    features = np.load(tmp_path / "both" / "state" / "label-embeddings.npy")
    assert features.shape == (13, 2560 + 512)
    assert np.array_equal(features[:, :2560], both.embeddings)
    assert [one["name"] for one in both.record["extra_backbones"]] == ["onnx:model.onnx"]
    assert both.record["stages"]["neighbors"]["key"] == alone.record["stages"]["neighbors"]["key"]
    assert not np.array_equal(alone.predictions, both.predictions)
    again = scan(data, tmp_path / "both", backbone="embedded")
    assert not (tmp_path / "both" / "state" / "label-embeddings.npy").exists()
    assert np.array_equal(again.predictions, alone.predictions)


@pytest.mark.parametrize("ending", [".npy", ".parquet", "columns.parquet"])
def test_scans_with_embeddings_of_the_user(data, tmp_path, ending):
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    vectors = np.random.default_rng(0).normal(size=(len(names), 16)).astype(np.float32)
    file = tmp_path / f"vectors{ending}"
    if ending == ".npy":
        np.save(file, vectors)
    else:
        order = np.random.default_rng(1).permutation(len(names))
        columns = {"embedding": list(vectors[order])} if ending == ".parquet" else {f"d{at}": vectors[order, at] for at in range(16)}
        pd.DataFrame({"sample_id": np.array(names)[order], **columns}).to_parquet(file)
    run = scan(data, tmp_path / "run", embeddings=str(file))
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(run.embeddings - expected).max() < 1e-3
    assert np.allclose(run.columns("embedding_norm")["embedding_norm"], np.linalg.norm(vectors, axis=1))
    assert run.record["checks"]["label_errors"]["state"] == run.record["checks"]["exact_duplicates"]["state"] == "done"
    with pytest.raises(BackboneError, match="the run has vectors from a file and no model"):
        of_run(run.record)


def test_changed_embeddings_decode_no_image_again(data, tmp_path):
    scan(data, tmp_path / "run", backbone="embedded")
    for seed in range(2):
        vectors = np.random.default_rng(seed).normal(size=(13, 16))
        np.save(tmp_path / "vectors.npy", vectors)
        run = scan(data, tmp_path / "run", embeddings=str(tmp_path / "vectors.npy"))
        assert run.record["stages"]["ingest"]["read"] == 0
        assert np.abs(run.embeddings - vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).max() < 1e-3
    assert scan(data, tmp_path / "run", backbone="embedded").record["stages"]["ingest"]["read"] == 13


def _with(values: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = values.copy()
    changed[row] = value
    return changed


ROWS = np.random.default_rng(0).normal(size=(13, 4))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (ROWS[:5], "has 5 rows, but the dataset has 13 images"),
        (_with(ROWS, 3, np.nan), "row 3 (cat/3.png): contains NaN or infinity"),
        (_with(ROWS, 12, 0), "row 12 (dog/5.png): contains only zeros"),
        (ROWS[:, :1], "its embeddings have dimension 1"),
        (ROWS[:, 0], "not a numeric 2-D array (shape (13,), dtype float64)"),
        (np.full((13, 2), "a"), "not a numeric 2-D array"),
    ],
)
def test_refuses_bad_embeddings(data, tmp_path, values, problem):
    np.save(tmp_path / "vectors.npy", values)
    with pytest.raises(AuditError) as refused:
        scan(data, tmp_path / "run", embeddings=str(tmp_path / "vectors.npy"))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"sample_id": ["cat/0.png"], "embedding": [[1.0, 2.0]]}, "has no row for 12 of 13 images, such as 'cat/1.png'"),
        ({"sample_id": ["a", "a"], "embedding": [[1.0, 2.0]] * 2}, "lists 'a' twice"),
        ({"image": ["a"], "embedding": [[1.0, 2.0]]}, "has no column sample_id or path"),
        ({"path": ["a"], "text": ["x"]}, "has no column of numbers"),
        ({"path": ["a"], "x": [[1.0]], "y": [[1.0]]}, "has 2 columns of lists: x, y"),
    ],
)
def test_refuses_bad_tables_of_embeddings(data, tmp_path, table, problem):
    pd.DataFrame(table).to_parquet(tmp_path / "vectors.parquet")
    with pytest.raises(AuditError) as refused:
        scan(data, tmp_path / "run", embeddings=str(tmp_path / "vectors.parquet"))
    assert problem in str(refused.value)


def test_embeddings_of_different_widths_are_refused(data, tmp_path):
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    pd.DataFrame({"path": names, "e": [[1.0] * (2 + at % 2) for at in range(13)]}).to_parquet(tmp_path / "vectors.parquet")
    with pytest.raises(AuditError, match="its embeddings have 2 different dimensions, 2 to 3"):
        scan(data, tmp_path / "run", embeddings=str(tmp_path / "vectors.parquet"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backbone": "resnet18"}, "unknown backbone 'resnet18'"),
        ({"backbone": "embedded,embedded"}, "repeated backbone 'embedded'"),
        ({"backbone": "embedded", "embeddings": "a.npy"}, "replaces the backbone, but one is named"),
        ({"backbone": "clip:ViT-B-32,embedded", "checkpoint": "a.pt"}, "belongs to one backbone, but several are named"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, problem):
    with pytest.raises(ConfigError, match=problem):
        audit.ScanOptions(**options)


def test_timm_without_weights_is_refused_offline():
    with pytest.raises(BackboneError, match="its weights are not on this machine and --offline forbids downloading them"):
        choose("timm:resnet18", offline=True)
    with pytest.raises(BackboneError, match="resnet18 has no published weights 'a9'"):
        choose("timm:resnet18.a9", offline=True)


def test_onnx_file_is_refused_on_a_gpu(models):
    backbone = choose(str(models.folder / "model.onnx")).backbone
    with pytest.raises(BackboneError, match="does not run on a GPU"):
        place(backbone, device="cuda", precision="auto", note=lambda _: None)


def test_models_lists_a_file_with_its_size_and_speed(models, monkeypatch, capsys):
    import audit.backbones
    from audit.cli import invoke

    monkeypatch.setattr(audit.backbones, "_SECONDS", 0.01)
    assert invoke(["models", str(models.folder / "model.onnx"), "--speed", "--offline", "--json"]) == 0
    (state,) = json.loads(capsys.readouterr().out)
    assert (state["name"], state["state"]) == ("onnx:model.onnx", "ready")
    assert state["megabytes"] == round((models.folder / "model.onnx").stat().st_size / 1e6)
    assert state["images_per_second"] > 0
    assert invoke(["models", str(models.folder / "none.onnx"), "--offline"]) == 2
    assert "no such model file" in capsys.readouterr().err

"""CLIP through open_clip: a small architecture is built, saved and loaded again."""

import dataclasses
import json
import threading

import numpy as np
import pytest
from PIL import Image

import audit
from audit.backbones import choose, clip, hub, list_models
from audit.backbones.runtime import OnnxModel, Placement, TorchEmbedder, prepare
from audit.errors import BackboneError
from dashboard.api import similar

ARCHITECTURE = "ViT-S-32-alt"

pytestmark = pytest.mark.filterwarnings("ignore")  # open_clip and the exporter warn of their own internals


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE).eval()
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(model.state_dict(), path)
    return model, path


def photo() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((371, 250), Image.Resampling.BICUBIC)


def test_checkpoint_embeddings_equal_open_clip(checkpoint):
    import open_clip
    import torch

    model, path = checkpoint
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False)
    with torch.inference_mode():
        expected = model.encode_image(transform(photo())[None]).numpy()

    backbone = choose(f"clip:{ARCHITECTURE}", checkpoint=str(path)).backbone
    assert backbone.dimension == expected.shape[1]
    batch = backbone.preprocessing.prepare(photo())[None]
    on_torch = TorchEmbedder(backbone, Placement("PyTorch", "cpu", "float32"))
    on_onnx = prepare(backbone, Placement("ONNX Runtime", "cpu", "float32"), lambda _: None)
    assert isinstance(on_onnx, OnnxModel)
    assert np.abs(on_torch.embed(batch) - expected).max() < 1e-3
    assert np.abs(on_onnx.open(1).embed(batch) - expected).max() < 1e-3


def test_checkpoint_text_embeddings_equal_open_clip(checkpoint):
    import open_clip
    import torch

    model, path = checkpoint
    texts = ["a photo of a cat", "an indoor scene"]
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_text(open_clip.get_tokenizer(ARCHITECTURE)(texts)), dim=1).numpy()
    found = choose(f"clip:{ARCHITECTURE}", checkpoint=str(path), offline=True).backbone.build_text()(texts)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3
    assert choose("embedded").backbone.build_text is None


def test_attributes_check_and_text_search_use_the_text_tower(checkpoint, tmp_path):
    _, path = checkpoint
    for number in range(6):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        photo().rotate(number).save(tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    options = audit.ScanOptions(backbone=f"clip:{ARCHITECTURE}", checkpoint=str(path), device="cpu", offline=True, workers=1, only=("attributes",))
    run = audit.scan(tmp_path / "data", tmp_path / "run", options=options)
    assert run.record["checks"]["attributes"]["state"] == "done"
    assert {json.loads(row)["question"] for row in run.findings["evidence"]} == {"medium", "people", "place", "season", "text"}
    query = similar.encode(run, "a photo of a cat")
    rows, likeness = similar.most_similar(run.embeddings, query, 3)
    expected = np.asarray(run.embeddings, np.float32) @ query
    np.testing.assert_allclose(likeness, np.sort(expected)[::-1][:3], atol=1e-6)
    assert len(rows) == 3

    plain = audit.scan(tmp_path / "data", tmp_path / "plain", options=dataclasses.replace(options, backbone="embedded", checkpoint=None))
    assert plain.record["checks"]["attributes"]["reason"] == "the backbone embedded has no text tower: scan with --backbone clip"
    with pytest.raises(BackboneError, match="embedded: the backbone has no text tower"):
        similar.encode(plain, "a cat")
    anew = audit.scan(tmp_path / "data", tmp_path / "run", options=dataclasses.replace(options, backbone="embedded", checkpoint=None))
    with pytest.raises(BackboneError, match="embedded: the backbone has no text tower"):
        similar.encode(anew, "a cat")  # and not with the tower that this folder's run had before


def test_checkpoints_have_different_ids(checkpoint, tmp_path):
    _, path = checkpoint
    other = tmp_path / "other.pt"
    other.write_bytes(path.read_bytes() + b"x")
    one = choose(f"clip:{ARCHITECTURE}", checkpoint=str(path)).backbone
    assert one.weights_id != choose(f"clip:{ARCHITECTURE}", checkpoint=str(other)).backbone.weights_id


def test_unloadable_checkpoint_is_one_line(tmp_path):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"no weights at all")
    with pytest.raises(BackboneError, match=r"wrong\.pt: (is a pickle|the weights do not load into)"):
        choose(f"clip:{ARCHITECTURE}", checkpoint=str(wrong)).backbone.build()


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(BackboneError, match="did you mean 'ViT-B-32'"):
        choose("clip:ViT-B-23/openai", offline=True)
    with pytest.raises(BackboneError, match="openai"):
        choose("clip:ViT-B-32/openia", offline=True)
    with pytest.raises(BackboneError, match="use auto, embedded, embedded-small, clip"):
        choose("resnet")
    with pytest.raises(BackboneError, match="--backbone clip:"):
        choose("auto", checkpoint="x.pt")


def test_offline_never_contacts_the_hub(monkeypatch):
    def fail() -> bool:
        raise AssertionError("contacted the model hub")

    monkeypatch.setattr(clip, "hub_reachable", fail)
    monkeypatch.setattr(clip, "_cached", lambda architecture, tag: False)
    chosen = choose("auto", offline=True)
    assert chosen.backbone.name == "embedded"
    assert "--offline" in chosen.reason
    assert {state.name: state.state for state in list_models(offline=True)}[f"clip:{clip.DEFAULT}"] == "not reachable here"


def test_hub_timeout(monkeypatch):
    import socket

    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait(60)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(hub, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asking = set(threading.enumerate())
    assert hub.hub_reachable() is False
    over.set()
    for thread in set(threading.enumerate()) - asking:
        thread.join()


def test_offline_forbids_the_hub_regardless_of_imports(monkeypatch, tmp_path):
    import socket

    from huggingface_hub import hf_hub_download

    asked = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> None:
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", connect)

    def fetch() -> None:
        with pytest.raises(Exception, match=r"(?i)offline|network|connection|cache"):
            hf_hub_download("nobody/nothing", "weights.bin", cache_dir=tmp_path, endpoint="http://127.0.0.1:9")

    with hub.hub_forbidden():
        fetch()
    assert not asked
    fetch()
    assert asked


def test_refusal_of_a_pickle_does_not_say_how_to_allow_it(tmp_path):
    """PyTorch's message explains how to switch its protection off."""
    import pickle

    class Hostile:
        def __reduce__(self):
            return print, ("executed",)

    (tmp_path / "weights.pt").write_bytes(pickle.dumps({"state_dict": Hostile()}))
    with pytest.raises(BackboneError) as refused:
        choose(f"clip:{ARCHITECTURE}", checkpoint=str(tmp_path / "weights.pt"), offline=True).backbone.build()
    assert "weights_only" not in str(refused.value)
    assert "is a pickle with more than tensors, which could run any code when it is loaded; get the weights as safetensors" in str(refused.value)

"""The exported model in the user's cache: created once, verified on every use, recreated if corrupt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.backbones import embedded, exported
from audit.backbones.base import Backbone, Preprocessing
from audit.backbones.runtime import OnnxModel, Placement, prepare
from audit.errors import BackboneError

PREPROCESSING = Preprocessing(input_size=8, resize=8, resampling="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
PLACEMENT = Placement("ONNX Runtime", "cpu", "float32")
DAMAGES = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "a flipped bit of a weight": lambda content: content[: (at := content.index(np.float32(0.25).tobytes()))] + b"\x01" + content[at + 1 :],
}


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(8 * 8 * 3, 4)
        torch.nn.init.constant_(self.last.weight, 0.25)

    def forward(self, pixels):
        return self.last(pixels.float().flatten(1))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGENET_AUDIT_CACHE", str(tmp_path))
    return tmp_path / "onnx"


def tower(**more):
    torch.manual_seed(0)
    return Backbone(name="tower", weights_id="tower", dimension=4, preprocessing=PREPROCESSING, licence="", source="", build=Tower, **more)


def embeddings(model):
    assert isinstance(model, OnnxModel)
    return model.open(1).embed(np.full((2, 8, 8, 3), 7, np.uint8))


def test_reuses_exported_model(cache):
    first = prepare(tower(), PLACEMENT, lambda _: None)
    notes = []
    assert prepare(tower(), PLACEMENT, notes.append) == first
    assert notes == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_recreates_corrupt_exported_model(cache, damage):
    expected = embeddings(prepare(tower(), PLACEMENT, lambda _: None))
    (file,) = cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    notes = []
    assert np.array_equal(embeddings(prepare(tower(), PLACEMENT, notes.append)), expected)
    assert notes[0] == f"{file}: corrupt: its SHA-256 does not match its name; the model is prepared again"
    assert len(list(cache.iterdir())) == 1


def test_checks_weights_despite_exported_model(cache, monkeypatch):
    prepare(tower(), PLACEMENT, lambda _: None)
    monkeypatch.setattr(exported, "_export", lambda _: pytest.fail("exported again"))
    checked = []
    prepare(tower(check_weights=lambda: checked.append("weights")), PLACEMENT, lambda _: None)
    assert checked == ["weights"]


def test_refuses_unexpected_weights_despite_exported_model(cache, monkeypatch):
    monkeypatch.setattr(exported, "_export", lambda _: b"a model")
    prepare(embedded.backbone(), PLACEMENT, lambda _: None)
    other = replace(embedded.LITE0, sha256=embedded.LITE0.sha256[:8] + 56 * "0")
    monkeypatch.setitem(embedded.MODELS, "embedded", replace(embedded.MODELS["embedded"], networks=(other,)))
    with pytest.raises(BackboneError, match="the weights' SHA-256 is 57934424"):
        prepare(embedded.backbone(), PLACEMENT, lambda _: None)

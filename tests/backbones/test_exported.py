"""The prepared model in the user's cache: made once, held against its checksum each time, and made anew where it is damaged."""

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


def test_a_prepared_model_is_taken_again(cache):
    first = prepare(tower(), PLACEMENT, lambda _: None)
    notes = []
    assert prepare(tower(), PLACEMENT, notes.append) == first
    assert notes == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_prepared_model_is_made_anew(cache, damage):
    expected = embeddings(prepare(tower(), PLACEMENT, lambda _: None))
    (file,) = cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    notes = []
    assert np.array_equal(embeddings(prepare(tower(), PLACEMENT, notes.append)), expected)
    assert notes[0] == f"{file}: damaged: its SHA-256 is not that of its name; the model is prepared anew"
    assert len(list(cache.iterdir())) == 1


def test_weights_are_checked_also_where_a_prepared_model_is_there(cache, monkeypatch):
    prepare(tower(), PLACEMENT, lambda _: None)
    monkeypatch.setattr(exported, "_export", lambda _: pytest.fail("it is there"))
    checked = []
    prepare(tower(check_weights=lambda: checked.append("weights")), PLACEMENT, lambda _: None)
    assert checked == ["weights"]


def test_embedded_weights_that_are_not_the_published_ones_are_refused_also_where_a_prepared_model_is_there(cache, monkeypatch):
    monkeypatch.setattr(exported, "_export", lambda _: b"a model")
    prepare(embedded.backbone(), PLACEMENT, lambda _: None)
    monkeypatch.setattr(embedded, "_SHA256", embedded._SHA256[:8] + 56 * "0")
    with pytest.raises(BackboneError, match="the weights' SHA-256 is 57934424"):
        prepare(embedded.backbone(), PLACEMENT, lambda _: None)

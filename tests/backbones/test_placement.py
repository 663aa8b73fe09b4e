"""The precision of a backbone on a CPU: measured once, and the fastest that keeps the embeddings."""

import dataclasses

import numpy as np
import pytest
import torch

from audit.backbones import placement
from audit.backbones.base import Backbone, Preprocessing
from audit.backbones.placement import Timing, fastest, place, timings
from audit.errors import BackboneError

PREPROCESSING = Preprocessing(input_size=16, resize=16, resampling="bilinear", mean=(0, 0, 0), std=(1, 1, 1))


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 12, 3)

    def forward(self, pixels):
        return self.last(self.first(pixels.permute(0, 3, 1, 2).float() / 255).relu()).mean((2, 3))


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGENET_AUDIT_CACHE", str(tmp_path))
    return Backbone(name="tower", weights_id="tower", dimension=12, preprocessing=PREPROCESSING, licence="", source="", build=lambda: Tower().eval())


def test_every_precision_is_measured_once(backbone, tmp_path):
    notes = []
    found = timings(backbone, notes.append)
    assert {"float32", "int8"} <= {timing.precision for timing in found}
    assert found[0].precision == "float32"
    assert found[0].median_cosine == pytest.approx(1)
    assert all(timing.is_faithful and timing.images_per_second > 0 for timing in found)
    assert any("float32" in note and "images/s a core" in note for note in notes)
    assert timings(backbone, pytest.fail) == found
    (file,) = (tmp_path / "onnx").glob("*-timings.json")
    file.write_text("[{")
    assert {timing.precision for timing in timings(backbone, notes.append)} == {timing.precision for timing in found}


def test_fast_precision_that_changes_embeddings_is_not_chosen(backbone, monkeypatch):
    measured = [Timing("float32", 100, 1, 1), Timing("bfloat16", 150, 0.999, 0.99), Timing("int8", 400, 0.97, 0.9)]
    monkeypatch.setattr(placement, "timings", lambda *_: measured)
    assert fastest(backbone, print) == "bfloat16"
    assert place(backbone, device="cpu", precision="auto", note=print).precision == "bfloat16"
    measured[2] = dataclasses.replace(measured[2], median_cosine=0.99)
    assert fastest(backbone, print) == "int8"


def test_int8_stays_close_to_float32_on_unseen_images(backbone):
    from audit.backbones.runtime import prepare

    images = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), np.uint8)
    placements = [place(backbone, device="cpu", precision=precision, note=print) for precision in ("float32", "int8")]
    whole, small = (prepare(backbone, placed, print).open(1).embed(images) for placed in placements)
    assert not np.array_equal(whole, small)
    assert ((whole * small).sum(1) / np.linalg.norm(whole, axis=1) / np.linalg.norm(small, axis=1)).min() > 0.99


def test_int8_is_refused_where_it_cannot_run(backbone, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackboneError, match="int8 is for CPUs"):
        place(backbone, device="cuda", precision="int8", note=print)
    program = dataclasses.replace(backbone, cpu_runtime="TorchScript")
    with pytest.raises(BackboneError, match="runs in float32 on a CPU"):
        place(program, device="cpu", precision="int8", note=print)


def test_nothing_is_measured_without_a_cache(backbone, monkeypatch):
    monkeypatch.setattr(placement, "why_not_writable", lambda: OSError("read-only"))
    monkeypatch.setattr(placement, "timings", lambda *_: pytest.fail("measured"))
    assert place(backbone, device="cpu", precision="auto", note=print).precision == "float32"


def test_a_cache_that_is_now_read_only_is_read(backbone, monkeypatch):
    expected = fastest(backbone, print)
    monkeypatch.setattr(placement, "why_not_writable", lambda: OSError("read-only"))
    monkeypatch.setattr(placement, "_measured", lambda *_: pytest.fail("measured"))
    assert fastest(backbone, print) == expected

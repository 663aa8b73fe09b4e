"""Where and how a backbone runs; GPUs are simulated."""

import numpy as np
import pytest
import torch

from audit.backbones import choose, runtime
from audit.backbones.base import Backbone, Preprocessing
from audit.backbones.placement import own_device, place
from audit.backbones.runtime import Placement, TorchEmbedder
from audit.errors import BackboneError

SMALL = choose("embedded-small").backbone


@pytest.fixture
def two_gpus(monkeypatch):
    answers = {"is_available": True, "device_count": 2, "is_bf16_supported": True}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer, **_: answer)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:0": "NVIDIA H100", "cuda:1": "NVIDIA T4"}[device])


def test_selects_gpu_by_number(two_gpus):
    assert place(SMALL, device="cuda:1", precision="auto", note=print) == Placement("PyTorch", "cuda:1", "bfloat16")
    assert place(SMALL, device="cuda", precision="float32", note=print) == Placement("PyTorch", "cuda", "float32")


def test_unknown_gpu_number_lists_the_gpus(two_gpus):
    with pytest.raises(BackboneError) as refused:
        place(SMALL, device="cuda:7", precision="auto", note=print)
    assert str(refused.value) == "cuda:7: this machine has no such GPU; it has cuda:0 (NVIDIA H100), cuda:1 (NVIDIA T4)"


def test_falls_back_to_cpu_without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackboneError, match="PyTorch finds no such device"):
        place(SMALL, device="cuda:0", precision="auto", note=print)
    assert own_device("cuda") == own_device("auto") == "cpu"


class Half(torch.nn.Module):
    """A network with every layer type that autocast converts, and one that it does not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = torch.nn.Conv2d(3, 16, 8, 8)
        self.norm = torch.nn.LayerNorm(16)
        self.attention = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        self.last = torch.nn.Linear(16, 5)

    def forward(self, pixels):
        tokens = self.norm(self.patches(pixels.permute(0, 3, 1, 2) / 255).flatten(2).transpose(1, 2))
        return self.last((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1))


def small(build):
    preprocessing = Preprocessing(input_size=32, resize=32, resampling="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
    return Backbone(name="small", weights_id="small", dimension=5, preprocessing=preprocessing, licence="", source="", build=build)


def inputs(count, side=32):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize("build", [Half, choose("embedded-small").backbone.build], ids=["transformer", "convolutions"])
def test_bfloat16_weights_change_no_embedding(build):
    """Autocast converts them for each batch anyway."""
    tower = build().eval()
    batch = inputs(3, 224 if build is not Half else 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = tower(torch.from_numpy(batch)).float().numpy()
    runtime._reduce(tower)
    assert any(parameter.dtype == torch.bfloat16 for parameter in tower.parameters())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(tower(torch.from_numpy(batch)).float().numpy(), expected)


def test_gpu_embedding_does_not_depend_on_its_batch():
    """Every forward pass has the same shape; ``cpu:0`` simulates a GPU."""
    embedder = TorchEmbedder(small(lambda: Half().eval()), Placement("PyTorch", "cpu:0", "float32"), together=4)
    batch, shapes = inputs(11), []
    embedder._tower.register_forward_hook(lambda _, arguments, __: shapes.append(tuple(arguments[0].shape)))
    together = embedder.embed(batch)
    assert set(shapes) == {(4, 32, 32, 3)}
    assert together.shape == (11, 5)
    for image in range(11):
        assert np.array_equal(embedder.embed(batch[image : image + 1])[0], together[image])


def test_out_of_memory_is_one_line(monkeypatch):
    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    embedder = TorchEmbedder(small(Half), Placement("PyTorch", "cpu:0", "float32"), together=4)
    monkeypatch.setattr(embedder, "_tower", fail)
    with pytest.raises(BackboneError, match="out of memory for the model and 4 images; use a smaller --batch-size"):
        embedder.embed(inputs(2))


def test_embedder_of_run_uses_all_cpus():
    from audit.backbones import embedder_of
    from audit.processes import available_cpus

    _, embedder = embedder_of({"backbone": {"name": "embedded", "precision": "float32"}, "options": {}})
    assert embedder._session.get_session_options().intra_op_num_threads == available_cpus()

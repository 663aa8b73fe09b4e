"""Where a backbone runs; GPUs are pretended where there are none."""

import numpy as np
import pytest
import torch

from audit.backbones import choose, runtime
from audit.backbones.base import Backbone, Preprocessing
from audit.backbones.runtime import Placement, TorchEmbedder, own_device, place
from audit.errors import BackboneError


@pytest.fixture
def two_gpus(monkeypatch):
    answers = {"is_available": True, "device_count": 2, "is_bf16_supported": True}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer, **_: answer)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:0": "NVIDIA H100", "cuda:1": "NVIDIA T4"}[device])


def test_a_gpu_is_taken_by_its_number(two_gpus):
    assert place(device="cuda:1", precision="auto") == Placement("PyTorch", "cuda:1", "bfloat16")
    assert place(device="cuda", precision="float32") == Placement("PyTorch", "cuda", "float32")


def test_a_number_that_no_gpu_has_is_refused_with_those_there_are(two_gpus):
    with pytest.raises(BackboneError) as refused:
        place(device="cuda:7", precision="auto")
    assert str(refused.value) == "cuda:7: this machine has no such GPU; it has cuda:0 (NVIDIA H100), cuda:1 (NVIDIA T4)"


def test_where_there_is_no_gpu_the_processors_compute(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackboneError, match="there is no such device that PyTorch can use"):
        place(device="cuda:0", precision="auto")
    assert own_device("cuda") == own_device("auto") == "cpu"


class Half(torch.nn.Module):
    """A network of every layer whose weights autocast makes smaller, and of one whose weights it does not."""

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


@pytest.mark.parametrize("build", [Half, choose("embedded").backbone.build], ids=["transformer", "convolutions"])
def test_weights_kept_in_bfloat16_change_no_embedding(build):
    """Autocast makes them so anyway, for each batch anew."""
    tower = build().eval()
    batch = inputs(3, 224 if build is not Half else 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = tower(torch.from_numpy(batch)).float().numpy()
    runtime._reduce(tower)
    assert any(parameter.dtype == torch.bfloat16 for parameter in tower.parameters())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(tower(torch.from_numpy(batch)).float().numpy(), expected)


def test_on_a_device_of_its_own_an_embedding_depends_on_no_other_image():
    """Each run is of one shape, whatever is asked for; ``cpu:0`` stands for such a device."""
    embedder = TorchEmbedder(small(lambda: Half().eval()), Placement("PyTorch", "cpu:0", "float32"), together=4)
    batch, shapes = inputs(11), []
    embedder._tower.register_forward_hook(lambda _, arguments, __: shapes.append(tuple(arguments[0].shape)))
    together = embedder.embed(batch)
    assert set(shapes) == {(4, 32, 32, 3)}
    assert together.shape == (11, 5)
    for image in range(11):
        assert np.array_equal(embedder.embed(batch[image : image + 1])[0], together[image])


def test_too_little_memory_of_the_device_is_one_line(monkeypatch):
    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    embedder = TorchEmbedder(small(Half), Placement("PyTorch", "cpu:0", "float32"), together=4)
    monkeypatch.setattr(embedder, "_tower", fail)
    with pytest.raises(BackboneError, match="does not hold the model and 4 images; use a smaller --batch-size"):
        embedder.embed(inputs(2))


def test_a_runs_backbone_takes_all_processors_and_no_more_threads():
    from audit.backbones import embedder_of
    from audit.processes import available_cpus

    _, embedder = embedder_of({"backbone": {"name": "embedded", "precision": "float32"}, "options": {}})
    assert embedder._session.get_session_options().intra_op_num_threads == available_cpus()

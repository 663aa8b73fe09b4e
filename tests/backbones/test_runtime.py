"""Where a backbone runs; GPUs are pretended where there are none."""

import pytest
import torch

from audit.backbones.runtime import Placement, own_device, place
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

"""Run a backbone: ONNX Runtime on a CPU, PyTorch on a GPU.

On a CPU, the image tower is exported to ONNX once (cached for the user) and run in batches of one fixed shape, so that an embedding does not depend
on the rest of its batch. Its precision is the one that `audit.backbones.placement` measures to be the fastest on this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones.base import ONNX_BATCH, Backbone, CpuModel, Embedder
from audit.backbones.exported import exported
from audit.errors import BackboneError

if TYPE_CHECKING:
    import torch

BATCHES_TOGETHER = 8
"""Batches that a GPU embeds at once: 256 images at the default batch size. Fewer leave a large GPU idle; more only use memory."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a backbone runs; embeddings depend on it."""

    runtime: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A backbone exported for the CPU; sent to worker processes as a path."""

    path: str
    dimension: int
    runtime: str
    precision: str

    def open(self, threads: int) -> Embedder:
        """Load the model into this process."""
        return OnnxEmbedder(self, threads)


def prepare(backbone: Backbone, placement: Placement, note: Callable[[str], None], *, batch_size: int = 32) -> CpuModel | TorchEmbedder:
    """Prepare a backbone: for a CPU, a model that every worker process opens; for a GPU, an embedder for the parent process.

    Args:
        backbone: the model.
        placement: where it runs, from ``place``.
        note: called with one line about slow steps.
        batch_size: images per batch; a GPU embeds `BATCHES_TOGETHER` batches at once.

    Raises:
        BackboneError: the weights on this machine are not those of the backbone.
    """
    if placement.runtime == "PyTorch":
        return TorchEmbedder(backbone, placement, together=BATCHES_TOGETHER * batch_size)
    if backbone.cpu_model is not None:
        return backbone.cpu_model
    return OnnxModel(str(exported(backbone, note, int8=placement.precision == "int8")), backbone.dimension, placement.runtime, placement.precision)


class OnnxEmbedder:
    """A backbone in ONNX Runtime on the CPU, run in batches of one fixed shape."""

    def __init__(self, model: OnnxModel, threads: int) -> None:
        import onnxruntime

        self._dimension = model.dimension
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"
        if model.runtime != "ONNX Runtime":
            hint = "bf16" if model.precision == "bfloat16" else "f32"
            # Pinned threads of several processes would share a core and halve the speed.
            settings = {"CPU": {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": "NO"}}
            provider = ("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": json.dumps(settings)})
        self._session = onnxruntime.InferenceSession(model.path, options, providers=[provider])

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed inputs; see ``Embedder``."""
        embeddings = np.empty((len(batch), self._dimension), np.float32)
        for start in range(0, len(batch), ONNX_BATCH):
            part = batch[start : start + ONNX_BATCH]
            if len(part) < ONNX_BATCH:
                part = np.concatenate([part, np.zeros((ONNX_BATCH - len(part), *batch.shape[1:]), np.uint8)])
            (found,) = self._session.run(None, {"pixels": part})
            embeddings[start : start + ONNX_BATCH] = found[: len(batch) - start]
        return embeddings


class TorchEmbedder:
    """A backbone in PyTorch, channels last; under autocast if the precision is bfloat16.

    Args:
        backbone: the model.
        placement: where it runs.
        together: images embedded at once. A GPU always gets this number, so that an embedding depends on no other image.

    Raises:
        BackboneError: from `embed`, if the device runs out of memory.
    """

    def __init__(self, backbone: Backbone, placement: Placement, *, together: int = BATCHES_TOGETHER * 32) -> None:
        import torch

        self._placement, self._together, side = placement, together, backbone.preprocessing.input_size
        self._shape = (together, side, side, 3)
        self._tower: torch.nn.Module = backbone.build().to(placement.device, memory_format=torch.channels_last)
        self._is_reduced = placement.precision == "bfloat16"
        if self._is_reduced:
            _reduce(self._tower)
        self._on_gpu = placement.device != "cpu"
        self._inputs = torch.zeros(self._shape, dtype=torch.uint8, device=placement.device) if self._on_gpu else None

    def buffer(self) -> npt.NDArray[np.uint8]:
        """See ``DeviceEmbedder``."""
        import torch

        found: npt.NDArray[np.uint8] = torch.empty(self._shape, dtype=torch.uint8, pin_memory=self._on_gpu).numpy()
        return found

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed inputs; see ``Embedder``. Inputs in a `buffer` are copied while the device computes."""
        import torch

        device_type = self._placement.device.split(":")[0]
        parts = [batch[start : start + self._together] for start in range(0, max(len(batch), 1), self._together)]
        try:
            with torch.inference_mode(), torch.autocast(device_type, torch.bfloat16, enabled=self._is_reduced):
                found = [self._tower(self._on_device(part)).float()[: len(part)] for part in parts]
                embeddings: npt.NDArray[np.float32] = torch.cat(found).cpu().numpy()
        except torch.OutOfMemoryError:
            problem = f"out of memory for the model and {self._together} images"
            raise BackboneError(self._placement.device, problem, "use a smaller --batch-size, or --device cpu") from None
        return embeddings

    def _on_device(self, part: npt.NDArray[np.uint8]) -> torch.Tensor:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(part))
        if self._inputs is None:
            return pixels
        self._inputs[: len(part)].copy_(pixels, non_blocking=True)
        return self._inputs


def _reduce(tower: torch.nn.Module) -> None:
    """Store in bfloat16 the weights that autocast would convert for each batch: the same results with half the memory."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.MultiheadAttention)
    for module in tower.modules():
        if isinstance(module, kinds):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)

"""Make a backbone run: ONNX Runtime on a CPU, PyTorch on a GPU.

On a CPU the image tower is exported once to ONNX (kept in the user's cache, named by the weights) and run in batches of one fixed shape, so that an image's
embedding does not depend on its neighbors in the batch. Where the processor has bf16 units and the OpenVINO execution provider is present, it runs in bf16.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones.base import Backbone, Embedder
from audit.errors import BackboneError

if TYPE_CHECKING:
    import torch

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a backbone runs; part of what an embedding depends on."""

    runtime: str
    device: str
    precision: str


def place(*, device: str, precision: str) -> Placement:
    """Decide where a backbone will run, without loading it.

    Args:
        device: ``auto`` (a GPU when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 where the device has it), ``float32`` or ``bfloat16``.

    Raises:
        BackboneError: what is asked for is not to be had on this machine.
    """
    if device != "cpu" and (device != "auto" or _nvidia_driver()):
        import torch  # noqa: PLC0415  only imported when a GPU may be there: it takes seconds

        if torch.cuda.is_available():
            reduced = precision == "bfloat16" or (precision == "auto" and torch.cuda.is_bf16_supported())
            return Placement("PyTorch", "cuda" if device == "auto" else device, "bfloat16" if reduced else "float32")
        if device != "auto":
            raise BackboneError(device, "there is no such device that PyTorch can use", "use --device cpu, or check the NVIDIA driver")
    import onnxruntime  # noqa: PLC0415

    openvino = "OpenVINOExecutionProvider" in onnxruntime.get_available_providers()
    if precision == "bfloat16" and not openvino:
        problem = "bfloat16 on a CPU needs the OpenVINO execution provider of ONNX Runtime"
        raise BackboneError("--precision", problem, "install onnxruntime-openvino in place of onnxruntime, or use --precision float32")
    if openvino and (precision == "bfloat16" or (precision == "auto" and _has_bf16_units())):
        return Placement("ONNX Runtime with OpenVINO", "cpu", "bfloat16")
    return Placement("ONNX Runtime", "cpu", "float32")


def open_embedder(backbone: Backbone, placement: Placement, *, batch_size: int, note: Callable[[str], None]) -> Embedder:
    """Make a backbone ready to embed batches.

    Args:
        backbone: the model.
        placement: where it runs, as decided by ``place``.
        batch_size: images per batch; smaller batches are padded to it.
        note: told, in one line, of anything that takes long.
    """
    if placement.runtime == "PyTorch":
        return TorchEmbedder(backbone, placement)
    return OnnxEmbedder(backbone, placement, batch_size, note)


class OnnxEmbedder:
    """A backbone in ONNX Runtime on the CPU."""

    def __init__(self, backbone: Backbone, placement: Placement, batch_size: int, note: Callable[[str], None]) -> None:
        import onnxruntime  # noqa: PLC0415

        self._batch_size = batch_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.log_severity_level = 3
        provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"
        if placement.precision == "bfloat16":
            settings = {"CPU": {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": available_cpus()}}
            provider = ("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": json.dumps(settings)})
        self._session = onnxruntime.InferenceSession(exported(backbone, batch_size, note), options, providers=[provider])

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed up to ``batch_size`` inputs; see ``Embedder``."""
        count = len(batch)
        if count < self._batch_size:
            padding = np.zeros((self._batch_size - count, *batch.shape[1:]), np.uint8)
            batch = np.concatenate([batch, padding])
        (embeddings,) = self._session.run(None, {"pixels": batch})
        return np.asarray(embeddings[:count], dtype=np.float32)


class TorchEmbedder:
    """A backbone in PyTorch, channels last; under autocast where the precision is bfloat16."""

    def __init__(self, backbone: Backbone, placement: Placement) -> None:
        import torch  # noqa: PLC0415

        self._placement = placement
        self._tower: torch.nn.Module = backbone.build().to(placement.device, memory_format=torch.channels_last)

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed inputs; see ``Embedder``."""
        import torch  # noqa: PLC0415

        device_type = self._placement.device.split(":")[0]
        with torch.inference_mode(), torch.autocast(device_type, torch.bfloat16, enabled=self._placement.precision == "bfloat16"):
            pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self._placement.device)
            embeddings: npt.NDArray[np.float32] = self._tower(pixels).float().cpu().numpy()
        return embeddings


def exported(backbone: Backbone, batch_size: int, note: Callable[[str], None]) -> bytes:
    """Return the image tower as an ONNX model with the fixed input ``pixels [batch_size, s, s, 3]`` uint8, exporting it on first use."""
    import onnxruntime  # noqa: PLC0415
    import platformdirs  # noqa: PLC0415

    identity = f"{backbone.name}|{backbone.weights_id}|{backbone.preprocessing}|{batch_size}|{onnxruntime.__version__}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    cached = Path(os.environ.get("IMAGENET_AUDIT_CACHE") or platformdirs.user_cache_dir("imagenet-audit")) / "onnx" / f"{name}.onnx"
    if cached.is_file():
        return cached.read_bytes()
    note(f"preparing {backbone.name} for this CPU (once; kept in {cached.parent})")
    model = _export(backbone, batch_size)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as file:
            file.write(model)
        Path(file.name).replace(cached)
    except OSError as error:
        note(f"the prepared model could not be kept: {error}; it will be prepared again next time")
    return model


def _export(backbone: Backbone, batch_size: int) -> bytes:
    import io  # noqa: PLC0415

    import torch  # noqa: PLC0415

    side = backbone.preprocessing.input_size
    pixels = torch.zeros((batch_size, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(backbone.build().eval(), (pixels,), input_names=["pixels"], output_names=["embeddings"], dynamo=True, verbose=False)
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()


def available_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has_bf16_units() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return bool(_BF16_FLAGS & set(flags))


def _nvidia_driver() -> bool:
    return any(Path(place).exists() for place in ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg")) or sys.platform == "win32"

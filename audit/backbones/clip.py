"""CLIP towers through open_clip: any architecture with any published tag, or a local checkpoint file.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020); open_clip: Ilharco et al. 2021.
Weights are loaded as data only (safetensors, or ``torch.load`` with ``weights_only=True``).
"""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audit.backbones.base import Backbone, EncodeText, ModelState, Preprocessing
from audit.backbones.hub import HUB, file_sha256, hub_forbidden, hub_reachable, in_hub_cache
from audit.errors import BackboneError, nearest, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch

DEFAULT = "ViT-B-32/laion2b_s34b_b79k"
_DEFAULT_REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
_DEFAULT_LICENCE = "MIT"
_DEFAULT_MEGABYTES = 605
_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def backbone(name: str, checkpoint: str | None, *, offline: bool) -> Backbone:
    """Return the record of a CLIP backbone.

    Args:
        name: ``ARCHITECTURE/TAG`` as listed by open_clip; with a checkpoint, only ``ARCHITECTURE``.
        checkpoint: a local file of weights, or None for the published ones.
        offline: never contact the model hub.

    Raises:
        BackboneError: unknown architecture or tag, or weights that are not available.
    """
    import open_clip

    architecture, _, tag = name.partition("/")
    if architecture not in open_clip.list_models():
        raise BackboneError(f"clip:{name}", f"open_clip has no architecture {architecture!r}", nearest(architecture, open_clip.list_models()))
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise BackboneError(checkpoint, "no such checkpoint file", "pass the path of a file saved by open_clip or torch.save")
        pretrained, weights_id, source = checkpoint, file_sha256(Path(checkpoint)), f"local checkpoint {Path(checkpoint).name}"
        licence = "depends on your checkpoint"
    else:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if tag not in tags:
            raise BackboneError(
                f"clip:{name}", f"{architecture} has no published weights {tag!r}", nearest(tag, tags) if tags else "use --checkpoint"
            )
        pretrained, weights_id, source = tag, f"open_clip {architecture}/{tag}", f"open_clip {architecture}/{tag}"
        licence = _DEFAULT_LICENCE if name == DEFAULT else "see its publisher in open_clip's list of pretrained models"
        if not _cached(architecture, tag) and (offline or not hub_reachable()):
            why = "--offline forbids downloading them" if offline else f"{HUB[0]} cannot be reached"
            raise BackboneError(f"clip:{name}", f"its weights are not on this machine and {why}", "use --checkpoint FILE, or --backbone embedded")

    preprocessing = _preprocessing(architecture, None if checkpoint else tag)
    return Backbone(
        name=f"clip:{architecture}/{Path(checkpoint).name if checkpoint else tag}",
        weights_id=weights_id,
        dimension=int(open_clip.get_model_config(architecture)["embed_dim"]),
        preprocessing=preprocessing,
        licence=licence,
        source=source,
        build=lambda: _build(architecture, pretrained, preprocessing, offline=offline),
        build_text=lambda: _build_text(architecture, pretrained, offline=offline),
    )


def available(*, offline: bool) -> str | None:
    """Return why the default CLIP model cannot be used on this machine; None if it can."""
    if in_hub_cache(_DEFAULT_REPOSITORY, *_WEIGHT_FILES):
        return None
    if offline:
        return "CLIP's weights are not on this machine and --offline forbids downloading them"
    return None if hub_reachable() else f"CLIP's weights are not on this machine and {HUB[0]} cannot be reached"


def states(*, offline: bool) -> list[ModelState]:
    """Return CLIP's lines for ``imagenet-audit models``."""
    state: Literal["ready", "will download", "not reachable here"]
    if in_hub_cache(_DEFAULT_REPOSITORY, *_WEIGHT_FILES):
        state, note = "ready", "weights are on this machine"
    elif available(offline=offline) is None:
        state, note = "will download", "downloaded on first use, then cached"
    else:
        state, note = "not reachable here", "use --checkpoint FILE for weights you have"
    kind = "CLIP ViT-B/32, 512 dimensions, 224 px"
    return [ModelState(name=f"clip:{DEFAULT}", kind=kind, state=state, megabytes=_DEFAULT_MEGABYTES, licence=_DEFAULT_LICENCE, note=note)]


def _build(architecture: str, pretrained: str, preprocessing: Preprocessing, *, offline: bool) -> torch.nn.Module:
    from audit.backbones.image_tower import ImageTower

    def encode(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return network.encode_image(batch)

    return ImageTower(_load(architecture, pretrained, offline=offline), encode, preprocessing)


def _build_text(architecture: str, pretrained: str, *, offline: bool) -> EncodeText:
    import open_clip
    import torch

    model = _load(architecture, pretrained, offline=offline).eval()
    try:
        with hub_forbidden() if offline else nullcontext():
            tokenize = open_clip.get_tokenizer(architecture)
    except Exception as error:
        problem = f"its tokenizer is not available: {reason(error)}"
        raise BackboneError(architecture, problem, "use a backbone whose tokenizer is part of open_clip") from error

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found = model.encode_text(tokenize(list(texts)))
            return np.asarray(torch.nn.functional.normalize(found, dim=1).numpy(), np.float32)

    return encode


def _load(architecture: str, pretrained: str, *, offline: bool) -> Any:
    """Return open_clip's model with both towers, float32 on the CPU. Raises BackboneError."""
    import open_clip

    try:
        with hub_forbidden() if offline else nullcontext():
            return open_clip.create_model(architecture, pretrained=pretrained, precision="fp32", device="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch's own message explains how to switch the protection off
        problem = "is a pickle with more than tensors, which could run any code when it is loaded"
        raise BackboneError(pretrained, problem, "get the weights as safetensors, or as a state dict") from error
    except Exception as error:
        problem = f"the weights do not load into {architecture}: {reason(error)}"
        raise BackboneError(pretrained, problem, "check that architecture and checkpoint match") from error


def _preprocessing(architecture: str, tag: str | None) -> Preprocessing:
    import open_clip

    published = (open_clip.get_pretrained_cfg(architecture, tag) if tag else None) or {}
    vision = open_clip.get_model_config(architecture)["vision_cfg"]
    size = vision.get("image_size", 224)
    size = size[0] if isinstance(size, (list, tuple)) else size
    mean = published.get("mean", open_clip.OPENAI_DATASET_MEAN)
    std = published.get("std", open_clip.OPENAI_DATASET_STD)
    return Preprocessing(
        input_size=int(size),
        resize=int(size),
        resampling="bilinear" if published.get("interpolation") == "bilinear" else "bicubic",
        mean=tuple(255 * value for value in mean),
        std=tuple(255 * value for value in std),
        squash=published.get("resize_mode") == "squash",
    )


def _cached(architecture: str, tag: str) -> bool:
    import open_clip

    repository = (open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub") or "").rstrip("/")
    return bool(repository) and in_hub_cache(repository, *_WEIGHT_FILES)

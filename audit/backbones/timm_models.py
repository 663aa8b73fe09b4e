"""Image models of timm: a published model, or an architecture with a local file of weights.

Wightman 2019, "PyTorch Image Models" (https://github.com/huggingface/pytorch-image-models). Weights are loaded as data only (safetensors, or
``torch.load`` with ``weights_only=True``).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.backbones.base import Backbone, ModelState, Preprocessing
from audit.backbones.hub import HUB, file_sha256, hub_forbidden, hub_reachable, in_hub_cache
from audit.errors import BackboneError, nearest, reason

if TYPE_CHECKING:
    import torch

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts store the weights."""


def backbone(name: str, checkpoint: str | None, *, offline: bool, preprocessing: Preprocessing | None = None) -> Backbone:
    """Return the record of a timm model.

    Args:
        name: ``ARCHITECTURE`` or ``ARCHITECTURE.TAG`` as timm lists it; with a checkpoint, the tag only selects the preprocessing.
        checkpoint: a local file of weights, or None for the published ones.
        offline: never contact the model hub.
        preprocessing: None for the published one.

    Raises:
        BackboneError: unknown architecture or tag, or weights that are not available.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise BackboneError(f"timm:{name}", f"timm has no architecture {architecture!r}", nearest(architecture, timm.list_models()))
    try:
        published = timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise BackboneError(f"timm:{name}", f"{architecture} has no published weights {tag!r}", nearest(tag, tags)) from None
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise BackboneError(checkpoint, "no such checkpoint file", "pass the path of a .safetensors file, or of one saved by torch.save")
        full, weights_id = f"{name}/{Path(checkpoint).name}", file_sha256(Path(checkpoint))
        source, licence = f"local checkpoint {Path(checkpoint).name}", "depends on your checkpoint"
    else:
        full = f"{architecture}.{published.tag}" if published is not None and published.tag else name
        weights_id, source, licence = f"timm {full}", f"timm {full}", getattr(published, "license", None) or "see the model's card on the hub"
        repository = getattr(published, "hf_hub_id", None)
        if not repository:
            raise BackboneError(f"timm:{name}", "timm publishes no weights for it on the hub", "use --checkpoint FILE")
        if not in_hub_cache(repository, *_WEIGHT_FILES) and (offline or not hub_reachable()):
            why = "--offline forbids downloading them" if offline else f"{HUB[0]} cannot be reached"
            raise BackboneError(f"timm:{name}", f"its weights are not on this machine and {why}", "use --checkpoint FILE, or --backbone embedded")
    dimension, own = _measured(full if checkpoint is None else name)
    used = preprocessing or own
    if preprocessing is not None and preprocessing.input_size != own.input_size:
        dimension = _measured(name, side=preprocessing.input_size)[0]
    return Backbone(
        name=f"timm:{full}",
        weights_id=weights_id,
        dimension=dimension,
        preprocessing=used,
        licence=licence,
        source=source,
        build=partial(_build, full if checkpoint is None else name, checkpoint, used, offline=offline),
        any_size=not _sized(name, used.input_size),
    )


def states() -> list[ModelState]:
    """Return a line for ``imagenet-audit models`` for every timm model whose weights are in the hub's cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        held = {repository.repo_id: repository.size_on_disk for repository in scan_cache_dir().repos}
    except CacheNotFound:
        held = {}
    found = []
    for repository, size in sorted(held.items()):
        if repository.startswith("timm/") and in_hub_cache(repository, *_WEIGHT_FILES):
            name, megabytes = repository.removeprefix("timm/"), round(size / 1e6)
            note = "weights are in the hub's cache"
            found.append(ModelState(name=f"timm:{name}", kind="timm", state="ready", megabytes=megabytes, licence="see its card", note=note))
    return found


def _measured(name: str, *, side: int | None = None) -> tuple[int, Preprocessing]:
    """Return the length of an embedding and the published preprocessing, without weights: the network is built without memory."""
    import timm
    import torch

    try:
        with torch.device("meta"), torch.inference_mode():
            network = timm.create_model(name, pretrained=False, num_classes=0, **_sized(name, side)).eval()
            wanted = timm.data.resolve_model_data_config(network)
            shape = tuple(network(torch.zeros(2, 3, *((side, side) if side else wanted["input_size"][1:]))).shape)
    except Exception as error:
        raise BackboneError(f"timm:{name}", f"cannot be built: {reason(error)}", "use another architecture") from error
    if len(shape) != 2:
        raise BackboneError(f"timm:{name}", f"returns shape {shape}, not one embedding per image", "use an architecture for classification")
    return shape[1], _preprocessing(wanted)


def _preprocessing(published: dict[str, Any]) -> Preprocessing:
    side = int(published["input_size"][1])
    red, green, blue = published["mean"]
    red_std, green_std, blue_std = published["std"]
    return Preprocessing(
        input_size=side,
        resize=max(side, int(side / published["crop_pct"])),
        resampling="bilinear" if published["interpolation"] == "bilinear" else "bicubic",
        mean=(255 * red, 255 * green, 255 * blue),
        std=(255 * red_std, 255 * green_std, 255 * blue_std),
        squash=published["crop_mode"] == "squash",
    )


def _sized(name: str, side: int | None) -> dict[str, int]:
    """Return the argument that sets the input size of a transformer; convolutional networks need none."""
    return {"img_size": side} if side and name.startswith(("vit", "deit", "swin", "beit", "eva")) else {}


def _build(name: str, checkpoint: str | None, preprocessing: Preprocessing, *, offline: bool) -> torch.nn.Module:
    import timm

    from audit.backbones.image_tower import ImageTower

    sized = _sized(name, preprocessing.input_size)
    try:
        with hub_forbidden() if offline else nullcontext():
            network = timm.create_model(name, pretrained=checkpoint is None, num_classes=0, **sized)
    except Exception as error:
        raise BackboneError(f"timm:{name}", f"its weights do not load: {reason(error)}", "use --checkpoint FILE") from error
    if checkpoint is not None:
        _load(network, name, Path(checkpoint))
    return ImageTower(network.eval(), lambda tower, batch: tower(batch).float(), preprocessing)


def _load(network: Any, name: str, checkpoint: Path) -> None:
    """Load a file of weights into a network without its classifier. Raises BackboneError."""
    weights = _read(checkpoint)
    own = network.state_dict()
    head = tuple(f"{part}." for part in _names(network.pretrained_cfg.get("classifier")))
    other = [key for key in weights if key not in own and not (head and key.startswith(head))]
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    shaped = [key for key, tensor in weights.items() if key in own and tensor.shape != own[key].shape]
    wrong = next(
        (f"{word} {keys[0]!r}" for word, keys in (("lacks", missing), ("has the unknown", other), ("has another shape of", shaped)) if keys), None
    )
    if wrong is not None:
        raise BackboneError(checkpoint, f"its weights do not fit timm's {name}: {wrong}", "check that architecture and checkpoint match")
    network.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False)


def _read(checkpoint: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    try:
        content = load_file(checkpoint) if checkpoint.suffix == ".safetensors" else torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  the loaders raise types of their own
        raise BackboneError(checkpoint, f"not a file of weights: {reason(error)}", "save a state_dict as .safetensors or with torch.save") from None
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise BackboneError(checkpoint, "not a table of weights", "save the model's state_dict")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


def _names(classifier: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (classifier,) if isinstance(classifier, str) else tuple(classifier or ())

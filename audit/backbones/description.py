"""The JSON file next to a model file: what the file itself does not say, such as its preprocessing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from audit.backbones.base import Preprocessing, Resampling
from audit.errors import BackboneError, nearest

_KEYS = ("architecture", "input_size", "resize", "resampling", "squash", "mean", "std", "output", "licence")
_EXAMPLE = '{"input_size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
_SIDES = range(8, 2049)


@dataclass(frozen=True, slots=True)
class Description:
    """What is known about a model file."""

    preprocessing: Preprocessing | None
    """None if the architecture's own is used."""
    architecture: str | None = None
    """``timm:NAME`` or ``clip:ARCHITECTURE`` of a file that holds only weights."""
    output: str | None = None
    """Name of the ONNX output with the embeddings; None: the only one."""
    licence: str = "depends on your model"


def read_description(model: Path, *, with_preprocessing: bool) -> Description:
    """Read ``NAME.json``, next to ``NAME.onnx``.

    Args:
        model: the model file.
        with_preprocessing: whether the preprocessing is required.

    Raises:
        BackboneError: no such file, not JSON, an unknown key, a value out of range.
    """
    path = model.with_suffix(".json")
    example = _EXAMPLE if with_preprocessing else '{"architecture": "timm:resnet18"}'
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BackboneError(model, f"its description {path.name} is missing", f"write it next to the model: {example}") from None
    except (OSError, ValueError) as error:
        raise BackboneError(path, f"not a JSON file: {error}", f"write {example}") from None
    if not isinstance(content, dict):
        raise BackboneError(path, "not a JSON object", f"write {example}")
    for key in content:
        if key not in _KEYS:
            raise BackboneError(path, f"unknown key {key!r}", nearest(key, _KEYS))
    for key in ("architecture", "output", "licence"):
        if not isinstance(content.get(key, ""), str):
            raise BackboneError(path, f"{key}: {content[key]!r} is not text", "write a string")
    if not with_preprocessing and "architecture" not in content:
        raise BackboneError(path, "names no architecture", f"write {example}")
    found = _preprocessing(path, content, example) if with_preprocessing or "input_size" in content else None
    return Description(found, content.get("architecture"), content.get("output"), content.get("licence", "depends on your model"))


def _preprocessing(path: Path, content: dict[str, Any], example: str) -> Preprocessing:
    for key in ("input_size", "mean", "std"):
        if key not in content:
            raise BackboneError(path, f"{key} is missing", f"write {example}")
    side = content["input_size"]
    resize, resampling, squash = content.get("resize", side), content.get("resampling", "bicubic"), content.get("squash", False)
    for key, value in (("input_size", side), ("resize", resize)):
        if type(value) is not int or value not in _SIDES:
            raise BackboneError(path, f"{key}: {value!r} is not a number of pixels", f"use a whole number from {_SIDES[0]} to {_SIDES[-1]}")
    if resize < side:
        raise BackboneError(
            path, f"resize: {resize} is less than input_size, {side}", "the short side is scaled to resize, then the centre is cropped"
        )
    if resampling not in ("bicubic", "bilinear"):
        raise BackboneError(path, f"resampling: {resampling!r} is unknown", "use bicubic or bilinear")
    if not isinstance(squash, bool):
        raise BackboneError(path, f"squash: {squash!r} is not true or false", "use true to scale both sides without a crop")
    for key, low in (("mean", 0.0), ("std", 0.001)):
        values = content[key]
        numbers = isinstance(values, list) and len(values) == 3 and all(isinstance(value, int | float) for value in values)
        if not numbers or not all(low <= value <= 1 for value in values):
            raise BackboneError(
                path, f"{key}: {values!r} is not three numbers up to 1", "give one per channel for pixels in 0..1, as torchvision does"
            )
    mean, std = (cast("tuple[float, float, float]", tuple(255.0 * value for value in content[key])) for key in ("mean", "std"))
    return Preprocessing(input_size=side, resize=resize, resampling=cast("Resampling", resampling), mean=mean, std=std, squash=squash)

"""How users name backbones: built-in names, ``FAMILY:NAME``, or a model file; several are separated by commas."""

from __future__ import annotations

import re
from pathlib import PurePath

ENDINGS = (".onnx", ".pt", ".torchscript", ".safetensors")
"""Endings of model files: ONNX, TorchScript (two), and the weights of a known architecture."""

FORMS = "auto, embedded, embedded-small, clip:ARCHITECTURE/TAG, timm:NAME, or a .onnx, .pt or .safetensors file"

_NAME = re.compile(r"auto|embedded(-small)?|clip(:[^/\s]+(/[^\s]+)?)?|timm:[^\s]+")


def is_file(name: str) -> bool:
    """Return whether a name is the path of a model file."""
    return PurePath(name).suffix in ENDINGS and not name.startswith(("clip:", "timm:"))


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B``; the first is the backbone of pairs and neighbors, all together are the features of label predictions."""
    return tuple(name.strip() for name in text.split(","))


def malformed(text: str) -> str | None:
    """Return the first name that has the form of no backbone, or that is listed twice; None if all are well-formed."""
    names = split_names(text)
    return next((name for at, name in enumerate(names) if not (is_file(name) or _NAME.fullmatch(name)) or name in names[:at]), None)

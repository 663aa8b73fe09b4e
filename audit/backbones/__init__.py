"""Image models: one module per family; each model is a frozen record of weights, preprocessing and licence."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from audit.backbones.base import Backbone, Choice, Embedder, EncodeText, ModelState, Preprocessing
from audit.backbones.names import FORMS, is_file, split_names
from audit.errors import BackboneError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Backbone",
    "Choice",
    "Embedder",
    "EncodeText",
    "ModelState",
    "Preprocessing",
    "choose",
    "embedder_of",
    "images_per_second",
    "list_models",
    "of_run",
    "rates_by_precision",
    "state_of",
    "text_tower",
]


_TIMED, _SECONDS = 32, 2.0
"""Images per timed batch, and the time after which the measurement ends."""


def choose(name: str, *, checkpoint: str | None = None, offline: bool = False) -> Choice:
    """Return a backbone by name, with the reason for the choice.

    Args:
        name: ``auto``, ``embedded``, ``embedded-small``, ``clip``, ``clip:ARCHITECTURE/TAG``, ``timm:NAME``, or the path of a model file. ``auto`` is
            CLIP if its weights are on this machine or can be downloaded, else the embedded model.
        checkpoint: a local file of CLIP or timm weights; the name must then include the architecture.
        offline: never contact the model hub.

    Raises:
        BackboneError: the name is unknown, its weights are not available, or the file is not a model.
    """
    if checkpoint is not None and not name.startswith(("clip:", "timm:")):
        hint = "add it, as in --backbone clip:ViT-B-32 or --backbone timm:resnet18"
        raise BackboneError("--checkpoint", "a checkpoint does not name its architecture", hint)
    if name == "auto":
        from audit.backbones import clip

        missing = clip.available(offline=offline)
        if missing is not None:
            return Choice(backbone=_named("embedded", None, offline=offline), reason=missing)
        return Choice(backbone=_named("clip", None, offline=offline), reason="default, weights available")
    return Choice(backbone=_named(name, checkpoint, offline=offline), reason="as requested")


def _named(name: str, checkpoint: str | None, *, offline: bool) -> Backbone:
    from audit.backbones import clip, embedded, model_files, timm_models

    family, _, rest = name.partition(":")
    if is_file(name):
        return _of_weights(name) if name.endswith(".safetensors") else model_files.backbone(name)
    if name in embedded.MODELS:
        return embedded.backbone(name)
    if family == "clip":
        return clip.backbone(rest or clip.DEFAULT, checkpoint, offline=offline)
    if family == "timm":
        return timm_models.backbone(rest, checkpoint, offline=offline)
    raise BackboneError(name, "unknown backbone", f"use {FORMS}")


def _of_weights(path: str) -> Backbone:
    """Return the record of a file of weights whose architecture is in the JSON file next to it. Raises BackboneError."""
    from pathlib import Path

    from audit.backbones import clip, timm_models
    from audit.backbones.description import read_description

    if not Path(path).is_file():
        raise BackboneError(path, "no such model file", "pass the path of a .onnx, .pt or .safetensors file")
    about = read_description(Path(path), with_preprocessing=False)
    family, _, architecture = (about.architecture or "").partition(":")
    if family == "timm":
        return timm_models.backbone(architecture, path, offline=True, preprocessing=about.preprocessing)
    if family == "clip":
        return clip.backbone(architecture, path, offline=True)
    raise BackboneError(Path(path).with_suffix(".json"), f"unknown architecture {about.architecture!r}", "use timm:NAME or clip:ARCHITECTURE")


def of_run(record: Mapping[str, Any]) -> Backbone:
    """Return the backbone of a run, given its ``run.json``; downloads nothing.

    Raises:
        BackboneError: the run has no backbone, or its weights are not on this machine or have changed.
    """
    name, checkpoint, asked = str(record["backbone"]["name"]), record["options"].get("checkpoint"), record["backbone"].get("asked", "")
    if name.startswith("vectors:"):
        raise BackboneError(name, "the run has vectors from a file and no model", "scan with --backbone to embed other images")
    requested = name.rpartition("/")[0] if checkpoint else name  # a checkpoint's file name takes the place of the tag
    requested = first if is_file(first := split_names(asked)[0]) else requested
    found = choose(requested, checkpoint=checkpoint, offline=True).backbone
    if is_file(requested) and found.weights_id != record["backbone"]["weights_id"]:
        raise BackboneError(requested, "is not the model file of this run", "put the file back, or scan again")
    return found


def embedder_of(record: Mapping[str, Any]) -> tuple[Preprocessing, Embedder]:
    """Load the backbone of a run on this CPU; see `of_run`."""
    from audit.backbones.placement import has_openvino, place
    from audit.backbones.runtime import TorchEmbedder, prepare
    from audit.processes import available_cpus

    backbone, precision = of_run(record), str(record["backbone"]["precision"])
    if precision == "bfloat16" and not has_openvino():
        precision = "auto"  # embedded on a GPU or another machine
    placement = place(backbone, device="cpu", precision=precision, note=lambda _: None)
    model = prepare(backbone, placement, lambda _: None)
    return backbone.preprocessing, model if isinstance(model, TorchEmbedder) else model.open(available_cpus())


def text_tower(record: Mapping[str, Any]) -> EncodeText | None:
    """Return the text tower of a run's backbone, loaded on first use; None if the backbone has none."""
    if not record["backbone"].get("has_text_tower"):
        return None

    @cache
    def tower() -> EncodeText:
        build = of_run(record).build_text
        if build is None:
            raise BackboneError(str(record["backbone"]["name"]), "has no text tower", "scan again")
        return build()

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return tower()(texts)

    return encode


def list_models(*, offline: bool = False) -> list[ModelState]:
    """Return every backbone with its state on this machine."""
    from audit.backbones import clip, embedded, timm_models

    return [*embedded.states(), *clip.states(offline=offline), *timm_models.states()]


def state_of(name: str, *, offline: bool = False) -> ModelState:
    """Return the state of one backbone. Raises BackboneError if its weights are not available or it is not a model."""
    from pathlib import Path

    known = {state.name: state for state in list_models(offline=offline)}
    if name in known:
        return known[name]
    found = choose(name, offline=offline).backbone
    size = found.preprocessing.input_size
    file = name if is_file(name) else None
    megabytes = round(Path(name).stat().st_size / 1e6) if file else 0
    kind = f"{found.source}, {found.dimension} dimensions, {size} px"
    return ModelState(name=found.name, kind=kind, state="ready", megabytes=megabytes, licence=found.licence, note="", path=file)


def rates_by_precision(name: str, *, offline: bool = False) -> dict[str, float]:
    """Return images per second on one core of this CPU by precision; empty for a model that runs in one precision only."""
    from audit.backbones.placement import timings

    backbone = choose(name, offline=offline).backbone
    if backbone.cpu_runtime is not None:
        return {}
    return {timing.precision: timing.images_per_second for timing in timings(backbone, lambda _: None)}


def images_per_second(name: str, *, offline: bool = False) -> float:
    """Measure the speed of a backbone on this machine, without reading images; on a CPU, on all its cores."""
    import time

    import numpy as np

    from audit.backbones.placement import place
    from audit.backbones.runtime import TorchEmbedder, prepare
    from audit.processes import available_cpus

    backbone = choose(name, offline=offline).backbone
    placement = place(backbone, device="auto", precision="auto", note=lambda _: None)
    model = prepare(backbone, placement, lambda _: None)
    embedder = model if isinstance(model, TorchEmbedder) else model.open(available_cpus())
    images = np.zeros((_TIMED, backbone.preprocessing.input_size, backbone.preprocessing.input_size, 3), np.uint8)
    embedder.embed(images)  # the first batch loads kernels
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        embedder.embed(images)
        done += len(images)
    return done / (time.perf_counter() - began)

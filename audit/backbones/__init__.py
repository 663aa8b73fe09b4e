"""Image models: one module per family; each model is a frozen record of weights, preprocessing and licence."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from audit.backbones.base import Backbone, Choice, Embedder, EncodeText, ModelState, Preprocessing
from audit.errors import BackboneError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["Backbone", "Choice", "Embedder", "EncodeText", "Preprocessing", "choose", "embedder_of", "list_models", "of_run", "text_tower"]


def choose(name: str, *, checkpoint: str | None = None, offline: bool = False) -> Choice:
    """Return a backbone by name, with the reason for the choice.

    Args:
        name: ``auto``, ``embedded``, ``clip`` or ``clip:ARCHITECTURE/TAG``. ``auto`` is CLIP if its weights are on this machine or can be downloaded,
            else the embedded model.
        checkpoint: a local file of CLIP weights; the name must then include the architecture.
        offline: never contact the model hub.

    Raises:
        BackboneError: the name is unknown or its weights are not available.
    """
    from audit.backbones import clip, embedded

    if checkpoint is not None and not name.startswith("clip:"):
        raise BackboneError("--checkpoint", "a checkpoint does not name its architecture", "add it, as in --backbone clip:ViT-B-32")
    if name == "embedded":
        return Choice(backbone=embedded.backbone(), reason="as requested")
    if name == "auto":
        missing = clip.available(offline=offline)
        if missing is None:
            return Choice(backbone=clip.backbone(clip.DEFAULT, None, offline=offline), reason="default, weights available")
        return Choice(backbone=embedded.backbone(), reason=missing)
    family, _, rest = name.partition(":")
    if family == "clip":
        return Choice(backbone=clip.backbone(rest or clip.DEFAULT, checkpoint, offline=offline), reason="as requested")
    raise BackboneError(name, "unknown backbone", "use auto, embedded, clip, or clip:ARCHITECTURE/TAG as in clip:ViT-B-32/openai")


def of_run(record: Mapping[str, Any]) -> Backbone:
    """Return the backbone of a run, given its ``run.json``; downloads nothing. Raises BackboneError if its weights are not on this machine."""
    name, checkpoint = str(record["backbone"]["name"]), record["options"].get("checkpoint")
    requested = name.rpartition("/")[0] if checkpoint else name  # a checkpoint's file name takes the place of the tag
    return choose(requested, checkpoint=checkpoint, offline=True).backbone


def embedder_of(record: Mapping[str, Any]) -> tuple[Preprocessing, Embedder]:
    """Load the backbone of a run on this CPU; see `of_run`."""
    from audit.backbones.runtime import OnnxModel, place, prepare
    from audit.processes import available_cpus

    backbone, precision = of_run(record), str(record["backbone"]["precision"])
    placement = place(device="cpu", precision=precision if precision == "float32" else "auto")
    model = prepare(backbone, placement, lambda _: None)
    return backbone.preprocessing, model.open(available_cpus()) if isinstance(model, OnnxModel) else model


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
    from audit.backbones import clip, embedded

    return [*embedded.states(), *clip.states(offline=offline)]

"""``imagenet-audit models``: list the image models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from audit.commands.base import OUTPUT, print_json, print_text, wants_color
from audit.io.console import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.backbones import ModelState


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--speed", is_flag=True, help="Measure how many images each available model embeds per second on this machine.")
@click.option("--offline", is_flag=True, help="Do not contact the model hub.")
@click.option("--checksums", is_flag=True, help="Print only the checksums of the weight files, in sha256sum format.")
@OUTPUT
def models(names: tuple[str, ...], *, speed: bool, offline: bool, checksums: bool, as_json: bool, color: bool | None) -> None:
    """List the image models and whether their weights are available.

    NAME is what --backbone accepts: timm:NAME, clip:ARCHITECTURE/TAG or a model file. Without one, the list has the embedded models, the default CLIP
    model, and the timm models whose weights are on this machine.
    """
    import dataclasses

    from audit.backbones import list_models

    if checksums:
        weights = {file: sha256 for state in list_models(offline=offline) if state.state == "ready" for file, sha256 in state.weights.items()}
        for file, sha256 in weights.items():
            print_text(f"{sha256}  {file}")
        return
    found = _measured(names, offline=offline, speed=speed)
    if as_json:
        print_json([dataclasses.asdict(state) for state in found])
        return
    for state in found:
        print_text(safe(state.name), bold=True, color=wants_color(color=color), nl=False)
        rate = "" if state.images_per_second is None else f"  {state.images_per_second:,.0f} images/s"
        print_text(f"  {state.state}  {state.megabytes:,.0f} MB{rate}  licence: {safe(state.licence)}")
        rates = ", ".join(f"{precision} {rate:,.0f}" for precision, rate in state.precisions.items())
        for line in (state.kind, state.note, rates and f"images/s on one core: {rates}", *(f"SHA-256 {sha256}" for sha256 in state.weights.values())):
            if line:
                print_text(f"  {safe(line)}")
    if not names:
        print_text("also: clip:ARCHITECTURE/TAG (open_clip), timm:NAME, and .onnx, .pt or .safetensors files; see docs/models.md")


def _measured(names: Sequence[str], *, offline: bool, speed: bool) -> list[ModelState]:

    from audit.backbones import list_models, state_of

    states = [state_of(name, offline=offline) for name in names] or list_models(offline=offline)
    if not speed:
        return states
    return [_timed(state, offline=offline) if state.state == "ready" else state for state in states]


def _timed(state: ModelState, *, offline: bool) -> ModelState:
    import dataclasses

    from audit.backbones import images_per_second, rates_by_precision

    name = state.path or state.name
    rate = images_per_second(name, offline=offline)
    return dataclasses.replace(state, images_per_second=rate, precisions=rates_by_precision(name, offline=offline))

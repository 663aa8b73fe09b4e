"""``imagenet-audit models``: list the image models."""

from __future__ import annotations

import click

from audit.commands.base import OUTPUT, print_json, print_text, wants_color
from audit.io.console import safe


@click.command()
@click.option("--offline", is_flag=True, help="Do not contact the model hub.")
@click.option("--checksums", is_flag=True, help="Print only the checksums of the weight files, in sha256sum format.")
@OUTPUT
def models(*, offline: bool, checksums: bool, as_json: bool, color: bool | None) -> None:
    """List the image models and whether their weights are available."""
    import dataclasses

    from audit.backbones import list_models

    states = [dataclasses.asdict(state) for state in list_models(offline=offline)]
    if checksums:
        for state in states:
            if state["sha256"]:
                print_text(f"{state['sha256']}  {state['weights_file']}")
        return
    if as_json:
        print_json(states)
        return
    for state in states:
        size = f" {state['megabytes']:,.0f} MB" if state["state"] == "will download" and state["megabytes"] else ""
        print_text(safe(state["name"]), bold=True, color=wants_color(color=color), nl=False)
        print_text(f"  {state['state']}{size}  licence: {safe(state['licence'])}")
        if state["note"]:
            print_text(f"  {safe(state['note'])}")
        if state["sha256"]:
            print_text(f"  SHA-256 {state['sha256']}")

"""``imagenet-audit init``: write a starter policy."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import PATH, print_text
from audit.errors import ConfigError


@click.command()
@click.argument("path", type=PATH, default="policy.toml")
def init(path: Path) -> None:
    """Write a starter policy for the check command.

    PATH is policy.toml by default. An existing file is not overwritten.
    """
    from audit.gate.policy import STARTER

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise ConfigError(path, "already exists", "choose another file, or remove this one first") from None
    print_text(f"wrote {path}; next: imagenet-audit check RUN --policy {path}")

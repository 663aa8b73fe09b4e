"""One module per command, named after it: ``audit/commands/scan.py`` is ``imagenet-audit scan``.

A module defines a ``click.Command`` with the name of the command (dashes become underscores). It imports heavy modules only when the command runs,
because ``--help`` imports every command. ``base`` holds shared code. Other packages add commands through the entry-point group `GROUP`:
name -> ``click.Command``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import click

from audit.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "imagenet_audit.commands"
"""Entry-point group of commands from other packages."""

_SHARED = ("base",)


class Commands(click.Group):
    """Group of all commands; a command's module is imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted({*_own(), *_brought()})

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the requested command; the error for an unknown name suggests the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"unknown command {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}", ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name, or None."""
        del ctx
        if cmd_name in _own():
            module = import_module(f"{__name__}.{_own()[cmd_name]}")
            found = getattr(module, _own()[cmd_name])
        elif cmd_name in _brought():
            found = _brought()[cmd_name].load()
        else:
            return None
        if not isinstance(found, click.Command):
            raise TypeError(f"the command {cmd_name} is a {type(found).__name__}, not a click.Command")
        return found


def _own() -> dict[str, str]:
    return {name.replace("_", "-"): name for _, name, _ in pkgutil.iter_modules(__path__) if name not in _SHARED}


def _brought() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}

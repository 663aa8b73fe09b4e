"""One module per command of the command line, named after it: ``audit/commands/scan.py`` is ``imagenet-audit scan``.

A module defines a ``click.Command`` under the command's own name (dashes become underscores) and imports nothing heavy until the command runs, since
``--help`` imports every module here. ``base`` holds what commands share. Other packages add commands through the entry-point group
`GROUP`: name -> the ``click.Command``.
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
"""Entry-point group of commands that other packages bring."""

_SHARED = ("base",)


class Commands(click.Group):
    """Every command there is; a command's module is imported when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted({*_own(), *_brought()})

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; a name that there is none of is answered with the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"there is no command {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}", ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None."""
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

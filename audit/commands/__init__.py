"""One module per command of the command line, named after it: ``audit/commands/scan.py`` is ``imagenet-audit scan``.

A module defines a ``click.Command`` under the command's own name (dashes become underscores) and imports nothing heavy until the command runs, since
``--help`` imports every module here. ``base`` holds what commands share. Other distributions add commands through the entry-point group
``imagenet_audit.commands`` (``name = "package.module:command"``).
"""

from __future__ import annotations

from types import ModuleType

import click

from audit.errors import AuditError, nearest
from audit.io.plugins import COMMANDS


class Commands(click.Group):
    """Every command there is; a command's module is imported when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS.find())

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; a name that there is none of is answered with the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"there is no command {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}", ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None."""
        del ctx
        if cmd_name not in COMMANDS.find():
            return None
        found = COMMANDS.get(cmd_name).load()
        if isinstance(found, ModuleType):
            found = getattr(found, cmd_name.replace("-", "_"), None)
        if not isinstance(found, click.Command):
            raise AuditError(COMMANDS.get(cmd_name).origin, f"is a {type(found).__name__}, not a click.Command", "update or uninstall its package")
        return found

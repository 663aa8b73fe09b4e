"""One module per command, named after it: ``audit/commands/scan.py`` is ``imagenet-audit scan``.

A module defines a ``click.Command`` with the name of the command (dashes become underscores). It imports heavy modules only when the command runs,
because ``--help`` imports every command. ``base`` holds shared code. Other packages add commands through the entry-point group
``imagenet_audit.commands`` (``name = "package.module:command"``).
"""

from __future__ import annotations

from types import ModuleType

import click

from audit.errors import AuditError, nearest
from audit.io.plugins import COMMANDS


class Commands(click.Group):
    """Group of all commands; a command's module is imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS.find())

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the requested command; the error for an unknown name suggests the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"unknown command {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}", ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name, or None."""
        del ctx
        if cmd_name not in COMMANDS.find():
            return None
        found = COMMANDS.get(cmd_name).load()
        if isinstance(found, ModuleType):
            found = getattr(found, cmd_name.replace("-", "_"), None)
        if not isinstance(found, click.Command):
            raise AuditError(COMMANDS.get(cmd_name).origin, f"is a {type(found).__name__}, not a click.Command", "update or uninstall its package")
        return found

"""``imagenet-audit checks``: list the checks."""

from __future__ import annotations

from typing import Any

import click

from audit.commands.base import OUTPUT, print_json, print_text, wants_color
from audit.console import safe


@click.command()
@OUTPUT
def checks(*, as_json: bool, color: bool | None) -> None:
    """List the checks: what each finds, needs and can be told."""
    from audit.checks import discover
    from audit.config import check_options

    rows: list[dict[str, Any]] = [
        {"name": check.name, "title": check.title, "needs": list(check.needs), "options": check_options(check.options)}
        for _, check in sorted(discover().items())
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_text(row["name"], bold=True, color=wants_color(color=color))
        print_text(f"  {safe(row['title'])}")
        print_text(f"  needs: {', '.join(row['needs']) or 'nothing'}")
        for name, default in row["options"].items():
            print_text(f"  option {row['name']}.{name} = {safe(default)}")

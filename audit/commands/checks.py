"""``imagenet-audit checks``: list the checks."""

from __future__ import annotations

import shutil
from typing import Any

import click

from audit.commands.base import OUTPUT, print_json, print_text, wants_color
from audit.errors import AuditError, nearest
from audit.io.console import safe


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK]...")
@OUTPUT
def checks(names: tuple[str, ...], *, as_json: bool, color: bool | None) -> None:
    """List the checks with their inputs and options.

    With CHECK names, also print how each works, its blind spots and its references.
    """
    from audit.checks import discover
    from audit.config import check_options

    known = discover()
    for name in names:
        if name not in known:
            raise AuditError("checks", f"unknown check {name!r}", nearest(name, known))
    rows: list[dict[str, Any]] = [
        {"name": check.name, "title": check.title, "needs": list(check.needs), "options": check_options(check.options)}
        | ({"about": check.about} if names else {})
        for check in (known[name] for name in names or sorted(known))
    ]
    if as_json:
        print_json(rows)
        return
    width = min(shutil.get_terminal_size().columns, 100)
    for row in rows:
        print_text(row["name"], bold=True, color=wants_color(color=color))
        print_text(f"  {safe(row['title'])}")
        for paragraph in row.get("about", "").split("\n\n"):
            if paragraph:
                print_text(f"\n{click.wrap_text(safe(' '.join(paragraph.split())), width, '  ', '  ')}\n", nl=False)
        print_text("\n" * bool(row.get("about")) + f"  needs: {', '.join(row['needs']) or 'nothing'}")
        for name, default in row["options"].items():
            print_text(f"  option {row['name']}.{name} = {safe(default)}")

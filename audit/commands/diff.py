"""``imagenet-audit diff``: what changed between two versions of a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, PATH, print_json, print_text, wants_color
from audit.diff.text import lines


@click.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option(
    "--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Samples and findings named of each kind; JSON has them all."
)
@OUTPUT
def diff(old: Path, new: Path, limit: int, *, as_json: bool, color: bool | None) -> None:
    """Compare two runs, OLD and NEW, of versions of a dataset.

    Says which samples were added, removed, changed, renamed, moved between splits and relabelled, which findings are new, fixed and persisting, the
    health of each check and class before and after, and how far the embeddings drifted. Samples are known by their content: a rename is a rename.
    """
    from audit import open_run
    from audit.diff.comparison import compare
    from audit.diff.text import document

    found = compare(open_run(old), open_run(new))
    if as_json:
        print_json(document(found))
        return
    bold = wants_color(color=color)
    for line in lines(found, limit=limit):
        print_text(line, bold=bold and not line.startswith(" "), color=bold)

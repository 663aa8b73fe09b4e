"""``imagenet-audit diff``: what changed between two versions of a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, PATH, limit_option, print_json, print_text, wants_color
from audit.diff.text import lines


@click.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@limit_option("samples and findings")
@OUTPUT
def diff(old: Path, new: Path, limit: int, *, as_json: bool, color: bool | None) -> None:
    """Compare the runs OLD and NEW of two dataset versions.

    Lists samples that were added, removed, changed, renamed, moved between splits or relabelled; new, fixed and persisting findings; the share of
    flagged images per check and class; and the drift of the embeddings. Samples are matched by content, so renamed files are recognised.
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

"""``imagenet-audit explain``: tell all that is known of one image."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, print_json, print_text


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sample", type=str)
@OUTPUT
def explain(run: Path, sample: str, *, as_json: bool, color: bool | None) -> None:
    """Tell all that is known of one image.

    SAMPLE is an image's id, the end of one, or the start of its content id.
    """
    from audit import open_run
    from audit.explain import explain as explained
    from audit.explain import find_sample

    opened = open_run(run)
    facts = explained(opened, find_sample(opened.samples, sample))
    if as_json:
        print_json(facts.as_dict())
    else:
        print_text(facts.text(), nl=False, color=color)

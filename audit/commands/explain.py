"""``imagenet-audit explain``: tell all that is known of one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.commands.base import OUTPUT, PATH, print_json, print_text, say
from audit.errors import ConfigError
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.run.run import Run


@click.command()
@click.argument("run", type=PATH)
@click.argument("sample", type=str)
@click.option(
    "--saliency",
    metavar="FILE",
    type=PATH,
    help="Also write a PNG: what on the picture made the backbone take it for its label, and for the class that fits better.",
)
@OUTPUT
def explain(run: Path, sample: str, *, saliency: Path | None, as_json: bool, color: bool | None) -> None:
    """Tell all that is known of one image.

    SAMPLE is an image's id, the end of one, or the start of its content id.
    """
    from audit import open_run
    from audit.explain.explanation import explain as explained
    from audit.explain.explanation import find_sample
    from audit.explain.text import lines

    if saliency is not None and saliency.suffix.lower() != ".png":
        raise ConfigError(saliency, "is no name of a PNG, which is what is written", "give it the ending .png")
    opened = open_run(run)
    row = find_sample(opened.samples, sample)
    facts = explained(opened, row)
    if saliency is not None:
        _draw(opened, row, saliency)
    if as_json:
        print_json(facts.as_dict())
    else:
        print_text("\n".join(lines(facts)), color=color)


def _draw(run: Run, row: int, place: Path) -> None:
    from audit.explain.saliency import CAVEAT, classes_of, drawn
    from audit.explain.saliency import saliency as measured
    from audit.io.artifacts import replacing

    labels = classes_of(run, row)
    picture = drawn(measured(run, row, labels))
    with replacing(place) as file:
        file.write(picture)
    if labels:
        say(f"wrote {safe(place)}: the picture, then what argued for {', '.join(map(repr, labels))} (red) and against (blue). {CAVEAT}")
    else:
        say(f"wrote {safe(place)}: the picture alone, as no class is known that it could be taken for")

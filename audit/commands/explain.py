"""``imagenet-audit explain``: print everything a run knows about one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.commands.base import OFFLINE, OUTPUT, PATH, SOURCE, print_json, print_text, say
from audit.errors import ConfigError
from audit.io.console import safe

if TYPE_CHECKING:
    from audit.run.run import Run


@click.command()
@click.argument("run", type=PATH)
@click.argument("sample", type=str)
@click.option(
    "--saliency", metavar="FILE", type=PATH, help="Also write an occlusion saliency map (PNG) for the given label and the best alternative."
)
@SOURCE
@OFFLINE
@OUTPUT
def explain(run: Path, sample: str, *, saliency: Path | None, source: str | None, as_json: bool, color: bool | None) -> None:
    """Print everything a run knows about one image.

    SAMPLE is the image's id, a suffix of it, or a prefix of its content id.
    """
    from audit import open_run
    from audit.explain.explanation import explain as explained
    from audit.explain.explanation import find_sample
    from audit.explain.text import lines

    if saliency is not None and saliency.suffix.lower() != ".png":
        raise ConfigError(saliency, "saliency maps are PNG files", "choose a name that ends in .png")
    opened = open_run(run, source=source)
    row = find_sample(opened.samples, sample)
    facts = explained(opened, row)
    if saliency is not None:
        _draw(opened, row, saliency)
    if as_json:
        print_json(facts.as_dict())
    else:
        print_text("\n".join(lines(facts)), color=color)


def _draw(run: Run, row: int, path: Path) -> None:
    from audit.explain.saliency import CAVEAT, classes_of, drawn
    from audit.explain.saliency import saliency as compute
    from audit.io.artifacts import replacing

    labels = classes_of(run, row)
    image = drawn(compute(run, row, labels))
    with replacing(path) as file:
        file.write(image)
    if labels:
        say(f"wrote {safe(path)}: the image, then evidence for (red) and against (blue) {', '.join(map(repr, labels))}. {CAVEAT}")
    else:
        say(f"wrote {safe(path)}: the image only, because no class is known to compare it with")

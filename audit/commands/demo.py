"""``imagenet-audit demo``: plant known defects in a small dataset and audit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audit.commands.base import OUTPUT, PATH, SCANNING, print_json, print_text, run_scan, show_run


@click.command()
@click.option("--out", default="demo-run", metavar="RUN", type=PATH, show_default=True, help="Run directory; the images are written to RUN-images.")
@SCANNING
@OUTPUT
def demo(out: Path, *, quiet: bool, as_json: bool, color: bool | None, **options: Any) -> None:
    """Plant known defects in a small real dataset and audit it.

    Works offline: the photographs come with installed packages, and the default backbone is the embedded model.
    """
    from audit import demo as demonstration
    from audit.config import load
    from audit.pipeline.run_folder import refuse_other_dataset

    # Options are read next to the demo images: an audit.toml in the working directory is for another dataset.
    options["backbone"] = options["backbone"] or "embedded"
    images = out.with_name(f"{out.name}-images")
    refuse_other_dataset(out, images)
    planted = demonstration.make(images)
    run = run_scan(str(images), out, load(options, images), quiet=quiet, color=color)
    outcomes = demonstration.compare(run, planted)
    if as_json:
        print_json({"planted": [outcome.as_dict() for outcome in outcomes], "run": str(run.path), "images": str(images)})
        return
    print_text(demonstration.describe(outcomes))
    show_run(run, as_json=False, color=color)

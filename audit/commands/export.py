"""``imagenet-audit export``: turn findings and decisions into files for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, print_json, print_text
from audit.console import safe


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--what",
    required=True,
    metavar="KIND",
    help="cleaned-manifest, corrected-labels, drop-list, clean-split, cleanlab, croissant, fiftyone, label-studio.",
)
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="File (.csv, .jsonl, .parquet, .json) or folder to write."
)
@OUTPUT
def export(run: Path, what: str, out: Path, *, as_json: bool, color: bool | None) -> None:
    """Write what was found and decided for other tools; the dataset itself is never touched."""
    del color
    from audit import open_run
    from audit.exports import export as exported

    written = exported(open_run(run), what, out)
    if as_json:
        print_json({"what": what, "out": str(out), **written})
    else:
        print_text(f"wrote {safe(out)}: {', '.join(f'{name} {number:,}' for name, number in written.items())}")

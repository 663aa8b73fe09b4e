"""``imagenet-audit lock``: pin a dataset version by its content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OFFLINE, OUTPUT, PATH, limit_option, print_json, print_text, wants_color
from audit.errors import ConfigError
from audit.io.console import counted, observer, safe, size

if TYPE_CHECKING:
    import pandas as pd

DIFFERS = 1


@click.command()
@click.argument("source", metavar="SOURCE_OR_RUN")
@click.option("--out", metavar="FILE", type=PATH, default=Path("audit.lock"), show_default=True, help="Lock file.")
@click.option("--check", is_flag=True, help="Compare the dataset with the lock instead of writing it.")
@limit_option("images")
@OFFLINE
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only, no progress.")
@OUTPUT
def lock(source: str, out: Path, *, check: bool, limit: int, quiet: bool, as_json: bool, color: bool | None) -> int:
    """Pin a dataset version by content in a lock file.

    The lock records the content, class and split of each image as sorted text for git, 23 bytes per image. Renaming files does not change it. For a
    SOURCE, every file is read but not decoded. Use the lock with the check command's --since.

    Exit codes: 0 written, or the dataset matches (--check); 1 the dataset differs from the lock (--check); 2 error.
    """
    from audit.gate.lock import changes_since, pin, read_lock
    from audit.io.artifacts import replacing

    locked = read_lock(out) if check else None
    if not out.parent.is_dir():
        raise ConfigError(out.parent, "no such folder", "create it, or choose another file")
    samples = _samples(source, quiet=quiet, color=color)
    if locked is None:
        data = pin(samples).encode("ascii")
        same = out.is_file() and out.read_bytes() == data
        if not same:
            with replacing(out) as file:
                file.write(data)
        if as_json:
            print_json({"lock": str(out), "images": len(samples), "bytes": len(data), "written": not same})
        else:
            print_text(f"{'unchanged' if same else 'wrote'} {safe(out)}: {counted(len(samples), 'image')}, {size(len(data))}")
        return 0
    return _show(changes_since(locked, samples), out, limit=limit, as_json=as_json, color=color)


def _samples(source: str, *, quiet: bool, color: bool | None) -> pd.DataFrame:
    from audit.config import load
    from audit.diff.sample_changes import COLUMNS
    from audit.gate.lock import read_content, refuse_unlisted
    from audit.gate.target import given_run
    from audit.sources import open_source

    run = given_run(source)
    if run is not None:
        refuse_unlisted(source, run.not_listed)
        return run.columns(*COLUMNS)
    dataset = open_source(source, load({}, Path.cwd()).source)
    with observer(quiet=quiet, color=color is not False) as watching:
        watching.stage("reading", None)
        return read_content(dataset, watching.advance)


def _show(changes: Any, out: Path, *, limit: int, as_json: bool, color: bool | None) -> int:
    from audit.diff.sample_changes import CHANGES
    from audit.diff.text import records, sample_lines

    same = not any(changes.counts[change] for change in CHANGES)
    renamed = {**changes.renamed_classes, **changes.renamed_splits}
    if as_json:
        print_json(
            {
                "same": same and not renamed,
                "lock": str(out),
                "counts": dict(changes.counts),
                "renamed_classes": dict(changes.renamed_classes),
                "renamed_splits": dict(changes.renamed_splits),
                "samples": records(changes.samples),
            }
        )
    else:
        for line in sample_lines(changes, limit):
            print_text(line, color=wants_color(color=color))
        print_text(f"{'matches' if same and not renamed else 'DIFFERS from'} the lock {safe(out)}")
    return 0 if same and not renamed else DIFFERS

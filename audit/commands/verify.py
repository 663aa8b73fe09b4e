"""``imagenet-audit verify``: hold a run against what is published about its dataset."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, PATH, print_json, print_text
from audit.errors import ConfigError, nearest

_LABEL_FILES = ("duplicates", "human", "mturk", "real")


@click.command()
@click.argument("run", type=PATH)
@click.option("--dataset", metavar="NAME", help="imagenet-1k, cifar-10 or cifar-100; by default known from the labels.")
@click.option("--labels", "given", multiple=True, metavar="KEY=FILE", help="Your copy of a public label file: duplicates, human, mturk, real.")
@OUTPUT
def verify(run: Path, dataset: str | None, given: tuple[str, ...], *, as_json: bool, color: bool | None) -> None:
    """Hold RUN against what is published about its dataset, expected and found side by side.

    Works on part of a dataset, and says what it could not check.
    """
    from audit import open_run
    from audit.answer_key import answer_key, recognise
    from audit.answer_key.found import compare
    from audit.console import safe

    del color
    files: dict[str, Path] = {}
    for entry in given:
        key, equals, file = entry.partition("=")
        if not equals or key not in _LABEL_FILES:
            raise ConfigError("--labels", f"{entry!r} is not KEY=FILE", nearest(key, _LABEL_FILES))
        files[key] = Path(file)
    opened = open_run(run)
    name = dataset or recognise(opened.samples["label"].dropna().unique())
    if name is None:
        raise ConfigError(run, "its labels are of no dataset with a published answer key", "name it with --dataset: imagenet-1k, cifar-10, cifar-100")
    rows = compare(opened, answer_key(name), files)
    if as_json:
        print_json({"dataset": name, "samples": len(opened), "facts": rows})
        return
    print_text(f"{name}: {len(opened):,} images in this run; expected numbers are of the whole dataset\n")
    print_text(f"{'expected':>10}  {'found':<34}  what (source)")
    for row in rows:
        found = "not checked" if row["found"] is None else str(row["found"])
        print_text(f"{row['expected']:>10}  {safe(found):<34}  {row['what']} ({row['source'].partition(',')[0]})")
        if row["not_checked"]:
            print_text(f"{'':>10}  {'':<34}  - {safe(row['not_checked'])}")

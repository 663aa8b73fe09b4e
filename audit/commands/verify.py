"""``imagenet-audit verify``: compare a run with published facts about its dataset."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from audit.commands.base import OUTPUT, PATH, print_json, print_text
from audit.errors import ConfigError, nearest

_LABEL_FILES = ("duplicates", "human", "mturk", "real")

WIDTH = 120
"""Default columns, if standard output is not a terminal and COLUMNS is not set."""

_NARROW = 72
"""Columns below which the cells of a row are printed below each other."""


@click.command()
@click.argument("run", type=PATH)
@click.option("--dataset", metavar="NAME", help="imagenet-1k, cifar-10 or cifar-100.  [default: recognised from the labels]")
@click.option(
    "--labels", "given", multiple=True, metavar="KEY=FILE", help="Local copy of a public label file; KEY is duplicates, human, mturk or real."
)
@OUTPUT
def verify(run: Path, dataset: str | None, given: tuple[str, ...], *, as_json: bool, color: bool | None) -> None:
    """Compare a run with published facts about its dataset.

    Prints expected and found values side by side. RUN may cover part of the dataset; facts that could not be checked are listed with the reason.
    """
    from audit import open_run
    from audit.verify.comparison import compare
    from audit.verify.datasets import find_dataset, recognise

    del color
    files: dict[str, Path] = {}
    for entry in given:
        key, equals, file = entry.partition("=")
        if not equals or key not in _LABEL_FILES:
            raise ConfigError("--labels", f"{entry!r} is not KEY=FILE with a known key", nearest(key, _LABEL_FILES))
        files[key] = Path(file)
    opened = open_run(run)
    labels = opened.columns("label")["label"].dropna().unique().tolist()
    name = dataset or recognise(labels)
    if name is None:
        problem = f"its {len(labels):,} labels match no dataset with published facts, or too few of its classes"
        raise ConfigError(run, problem, "name the dataset with --dataset: imagenet-1k, cifar-10 or cifar-100")
    rows = compare(opened, name, files)
    known = find_dataset(name)
    classes = len({known.class_of(label) for label in labels} - {None})
    if as_json:
        print_json({"dataset": name, "samples": len(opened), "classes": classes, "facts": rows})
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH
    heading = f"{name}: {len(opened):,} images of {classes:,} of {len(known.classes):,} classes; expected values are for the whole dataset"
    print_text("\n".join([*textwrap.wrap(heading, max(width, 20)), "", *side_by_side(rows, width)]))


def side_by_side(rows: Sequence[dict[str, Any]], width: int) -> list[str]:
    """Return lines with expected and found values side by side, none longer than ``width`` (at least 20).

    Args:
        rows: as `audit.verify.comparison.compare` returns them.
        width: columns of the terminal.
    """
    from audit.io.console import safe

    cells = [("expected", "found", "what (source)")]
    for row in rows:
        found = "not checked" if row["found"] is None else str(row["found"])
        why = f": {row['not_checked']}" if row["not_checked"] else ""
        cells.append((row["expected"], safe(found), safe(f"{row['what']} ({row['source'].partition(',')[0]}){why}")))
    if width < _NARROW:
        return [line for cell in cells[1:] for line in _below(cell, max(width, 20))]
    first = max(len(cell[0]) for cell in cells)
    second = min(max(len(cell[1]) for cell in cells), (width - first) // 3)
    widths = (first, second, width - first - second - 4)
    lines = []
    for cell in cells:
        columns = [textwrap.wrap(text, wide) for text, wide in zip(cell, widths, strict=True)]
        for at in range(max(map(len, columns))):
            one, other, rest = (column[at] if at < len(column) else "" for column in columns)
            lines.append(f"{one:>{first}}  {other:<{second}}  {rest}".rstrip())
    return lines


def _below(cell: tuple[str, str, str], width: int) -> list[str]:
    expected, found, what = cell
    lines = textwrap.wrap(what, width)
    for name, text in (("expected", expected), ("found", found)):
        lines += textwrap.wrap(f"{name} {text}", width, initial_indent="  ", subsequent_indent="    ")
    return lines

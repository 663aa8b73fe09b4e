"""Code shared by the commands: options, printing, running a scan with progress."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.errors import AuditError, of_an_interrupt
from audit.io.console import observer, safe
from audit.io.plugins import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audit import Run
    from audit.io.plugins import PluginFolder

PROGRAM = "imagenet-audit"
ERROR = 2
INTERRUPTED = 130


def flags(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator that adds several options; ``--help`` lists them in this order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _NonEmptyPath(click.Path):
    """A path that refuses an empty string, such as an unset variable: it would mean the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; pass a file or a folder", param, ctx)
        return super().convert(value, param, ctx)


def listed(folder: PluginFolder) -> str:
    """Return the names of plug-ins for a help text; an error in finding them is left to the command that uses them."""
    with suppress(AuditError):
        return ", ".join(folder.find())
    return "NAME"


def limit_option(what: str) -> Callable[[Any], Any]:
    """Return the option ``--limit`` of a command that lists changes."""
    text = f"Maximum number of {what} listed per kind of change; --json lists all."
    return click.option("--limit", type=click.IntRange(min=0), metavar="N", default=10, show_default=True, help=text)


PATH = _NonEmptyPath(path_type=Path)

OUTPUT = flags(
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
    click.option("--color/--no-color", default=None, help="Use colors.  [default: on a terminal, unless NO_COLOR is set]"),
)

SOURCE = click.option("--source", metavar="SOURCE", help="Where the dataset of RUN is.  [default: where this machine scanned it]")


def OFFLINE(function: Any) -> Any:  # noqa: N802 - an option, as those above
    """Add ``--offline`` to a command that is not a scan."""

    @functools.wraps(function)
    def command(*args: Any, offline: bool, **options: Any) -> Any:
        from audit.sources.storage.files import network_forbidden

        with network_forbidden(forbidden=offline):
            return function(*args, **options)

    return click.option("--offline", is_flag=True, help="Do not use the network for datasets.")(command)


READING = flags(
    click.option("--kind", metavar="KIND", help=f"Dataset format, if it is not recognised: {listed(SOURCES)}."),
    click.option("--labels", "labels_file", metavar="FILE", help="Label file, for images whose folder is not their class."),
    click.option("--layout", metavar="LEVELS", help="What the levels of folders are, such as split/class, domain/class or */class."),
    click.option("--objects", is_flag=True, default=None, help="Make each annotated object one sample; with --kind coco, voc or yolo."),
    click.option("--class-words", "class_words_file", metavar="FILE", help="File that maps label codes to class names."),
    click.option("--taxonomy", "taxonomy_file", metavar="FILE", help="Class hierarchy (WordNet's data.noun, JSON, ...)."),
    click.option("--path-column", metavar="NAME", help="Manifest column with the image paths."),
    click.option("--image-column", metavar="NAME", help="Parquet column with the image bytes."),
    click.option("--label-column", metavar="NAME", help="Column with the label."),
    click.option("--split-column", metavar="NAME", help="Column with the split."),
    click.option("--split", metavar="NAME", help="Put every image in this split, ignoring folders and columns."),
    click.option("--group-column", metavar="NAME", help="Column with the patient, product, video, session or sender of an image."),
    click.option("--group-pattern", metavar="REGEX", help="Pattern that finds an image's group in its sample id."),
    click.option("--allow-remote", is_flag=True, default=None, help="Allow a table to list images by URL."),
)
"""How SOURCE is read: the fields of `audit.sources.SourceOptions`."""


def of_source(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a command's options that say how SOURCE is read."""
    from dataclasses import fields

    from audit.sources import SourceOptions

    return {field.name: options[field.name] for field in fields(SourceOptions) if field.name in options}


SCANNING = flags(
    click.option(
        "--backbone",
        metavar="NAME",
        multiple=True,
        callback=lambda _context, _option, names: ",".join(names) or None,
        help="Image model: auto, embedded, clip:ARCHITECTURE/TAG, timm:NAME, or a model file; if repeated, the others improve label predictions; "
        "see the models command.  [default: auto]",
    ),
    click.option("--device", metavar="DEVICE", help="Device of the image model: auto, cpu, cuda or cuda:N.  [default: auto]"),
    click.option("--precision", metavar="TYPE", help="Precision of the image model: auto, float32, bfloat16 or int8.  [default: auto]"),
    click.option("--offline", is_flag=True, default=None, help="Do not use the network for weights, datasets or caches."),
    click.option("--batch-size", type=int, metavar="N", help="Images per model batch.  [default: 32]"),
    click.option("--workers", type=int, metavar="N", help="Processes that read and decode images.  [default: one per CPU]"),
    click.option("--cache", metavar="DIR_OR_URL", help="Measurement cache shared between scans; only images that are not in it are decoded."),
    click.option("--engine", metavar="NAME", help="Where to run: local (this machine) or ray (a cluster).  [default: local]"),
    click.option("--address", metavar="ADDRESS", help="Ray cluster: auto or HOST:PORT.  [default: start Ray on this machine]"),
    click.option("-q", "--quiet", is_flag=True, help="Print results and errors only, no progress or notes."),
)


def run_scan(source: str, out: Path, options: Any, *, quiet: bool, color: bool | None, kept: bool = True, baseline: Path | None = None) -> Run:
    """Scan a dataset with progress on standard error. On an interrupt, exit with 130; the message says whether the scan can resume (``kept``)."""
    from audit import scan as audit_scan

    try:
        with observer(quiet=quiet, color=color is not False) as watching:
            return audit_scan(source, out, options=options, observer=watching, baseline=baseline)
    except BaseException as error:
        if not of_an_interrupt(error):
            raise
        say(f"interrupted: {'run the same command again to resume' if kept else 'nothing was kept; use --out RUN to make scans resumable'}")
        raise click.exceptions.Exit(INTERRUPTED) from None


def how_to_decide(run: Path) -> str:
    """Return a hint with the two commands that start a review."""
    path = shlex.quote(str(run))
    return f"review findings with: {PROGRAM} dashboard {path}, or {PROGRAM} decisions {path} --sheet review.csv"


def say(line: str, code: int = ERROR) -> int:
    """Print one line on standard error and return ``code``."""
    click.echo(safe(line), err=True)
    return code


def show_run(run: Run, *, as_json: bool, color: bool | None) -> None:
    """Print a run as text, fitted to the terminal, or as JSON."""
    from audit.run.report_formats import report_format

    if as_json:
        print_text(report_format("json").render(run), nl=False)
        return
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else None
    colors = wants_color(color=color)
    print_text(report_format("text").render(run, width=width, color=colors), nl=False, color=colors)


def wants_color(*, color: bool | None) -> bool:
    """Return whether to print in color: the flag, else whether stdout is a terminal without NO_COLOR (https://no-color.org)."""
    if color is not None:
        return color
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str = "", *, nl: bool = True, bold: bool = False, color: bool | None = None) -> None:
    """Print on standard output; exit quietly if the pipe is closed, as by ``| head``."""
    colors = wants_color(color=color)
    try:
        click.echo(click.style(text, bold=True) if bold and colors else text, nl=nl, color=colors)
    except BrokenPipeError:
        # Flushing the buffer at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


def print_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    import json

    print_text(json.dumps(value, indent=1))

"""What commands share: flags, printing, running a scan with its progress shown."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.errors import AuditError, of_an_interrupt
from audit.io.console import observer, safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit import Run
    from audit.io.plugins import PluginFolder

PROGRAM = "imagenet-audit"
COULD_NOT = 2
INTERRUPTED = 130


def flags(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator that adds several options, shown in the order given."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _Place(click.Path):
    """A path; an empty text, as a variable that is not set leaves it, is none: it would mean the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; name a file or a folder", param, ctx)
        return super().convert(value, param, ctx)


def listed(folder: PluginFolder) -> str:
    """Return the names of plug-ins for a help text; an error in finding them is left to the command that uses them."""
    with suppress(AuditError):
        return ", ".join(folder.find())
    return "NAME"


PATH = _Place(path_type=Path)

OUTPUT = flags(
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text; nothing else goes to standard output."),
    click.option("--color/--no-color", default=None, help="Colors; by default on a terminal, unless NO_COLOR is set."),
)

SCANNING = flags(
    click.option("--backbone", metavar="NAME", help="auto, embedded, clip or clip:ARCHITECTURE/TAG; see the models command."),
    click.option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.  [default: auto]"),
    click.option("--precision", metavar="TYPE", help="auto, float32 or bfloat16.  [default: auto]"),
    click.option("--offline", is_flag=True, default=None, help="Reach no network, neither for weights nor for a dataset or cache."),
    click.option("--batch-size", type=int, metavar="N", help="Images per step of the model.  [default: 32]"),
    click.option("--workers", type=int, metavar="N", help="Processes that read and decode.  [default: one per CPU]"),
    click.option("--cache", metavar="PLACE", help="Folder or URL with what is measured of images, shared by scans; only new images are decoded."),
    click.option("--engine", metavar="NAME", help="local (this machine) or ray (a cluster).  [default: local]"),
    click.option("--address", metavar="ADDRESS", help="Ray cluster: auto or HOST:PORT.  [default: Ray on this machine alone]"),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no notes; results and errors only."),
)


def run_scan(source: str, out: Path, options: Any, *, quiet: bool, color: bool | None, kept: bool = True) -> Run:
    """Audit a dataset with its progress on standard error; an interruption exits with 130 and says whether the scan can be continued."""
    from audit import scan as audit_scan

    try:
        with observer(quiet=quiet, color=color is not False) as watching:
            return audit_scan(source, out, options=options, observer=watching)
    except BaseException as error:
        if not of_an_interrupt(error):
            raise
        say(f"interrupted: {'what was done is kept; the same command resumes' if kept else 'nothing is kept; with --out RUN the scan could go on'}")
        raise click.exceptions.Exit(INTERRUPTED) from None


def how_to_decide(run: Path) -> str:
    """Return the commands that decisions begin with."""
    place = shlex.quote(str(run))
    return f"decide with: {PROGRAM} dashboard {place}, or {PROGRAM} decisions {place} --sheet review.csv"


def say(line: str, code: int = COULD_NOT) -> int:
    """Print one line on standard error and return the exit code."""
    click.echo(safe(line), err=True)
    return code


def show_run(run: Run, *, as_json: bool, color: bool | None) -> None:
    """Print a run: for people as wide as their terminal, or as JSON."""
    from audit.run.report_formats import report_format

    if as_json:
        print_text(report_format("json").render(run), nl=False)
        return
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else None
    colors = wants_color(color=color)
    print_text(report_format("text").render(run, width=width, color=colors), nl=False, color=colors)


def wants_color(*, color: bool | None) -> bool:
    """Return whether to print in color: as asked, else on a terminal that has no wish against it (https://no-color.org)."""
    if color is not None:
        return color
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str = "", *, nl: bool = True, bold: bool = False, color: bool | None = None) -> None:
    """Print on standard output; a reader that has left, as in ``| head``, is no failure."""
    colors = wants_color(color=color)
    try:
        click.echo(click.style(text, bold=True) if bold and colors else text, nl=nl, color=colors)
    except BrokenPipeError:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


def print_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    import json

    print_text(json.dumps(value, indent=1))

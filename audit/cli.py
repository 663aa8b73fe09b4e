"""The command line: parse, call one function, print what it gives, map errors to exit codes.

Exit codes: 0 done, 2 could not be done (one line on standard error says why and what to do), 130 interrupted. Nothing heavy is imported before a
command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from audit.console import observer, safe
from audit.errors import AuditError, ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audit import Run

PROGRAM = "imagenet-audit"
FORMATS = "imagenet_audit.formats"
"""Entry-point group of report formats: name -> ``(Run) -> str``."""

STORAGE_MENDS = {
    errno.ENOSPC: "the disk is full; free some space or name another --out, then give the same command: it resumes",
    errno.EDQUOT: "the disk quota is used up; free some space or name another --out, then give the same command: it resumes",
    errno.EACCES: "permission denied; make it accessible or name another place",
    errno.EPERM: "permission denied; make it accessible or name another place",
    errno.ENOTDIR: "a part of this path is a file, not a folder; name another place",
    errno.EIO: "the storage failed to read or write; check the disk or the network share, then give the same command: it resumes",
    errno.EROFS: "the file system is read-only; name another --out",
    errno.EMFILE: "too many open files; raise the limit with: ulimit -n 4096",
}
"""What to do about faults of the storage, by errno."""

COULD_NOT = 2
INTERRUPTED = 130

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors that a person can mend become one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = commands.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        line = _fault(error)
        if line is None:
            traceback.print_exc()
            line = "this is a fault of imagenet-audit, not of your data; please report it with the lines above and the command"
        code = _say(f"error: {line}")
    return code


def _say(line: str, code: int = COULD_NOT) -> int:
    click.echo(safe(line), err=True)
    return code


def _fault(error: Exception) -> str | None:
    """Say in one line what a person can mend; None where it is nothing of the kind."""
    if isinstance(error, AuditError):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory: not enough; use fewer --workers or a smaller --batch-size"
    if isinstance(error, OSError) and error.errno in STORAGE_MENDS:
        return f"{error.filename or 'storage'}: {STORAGE_MENDS[error.errno]}"
    return None


@click.group(context_settings=CONTEXT)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def commands() -> None:
    """Find what is wrong with an image-classification dataset, and say why.

    Start with: imagenet-audit demo
    """


def _flags(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


OUTPUT = _flags(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text; nothing else goes to standard output."),
    click.option("--color/--no-color", default=None, help="Colors; by default on a terminal, unless NO_COLOR is set."),
)

SCANNING = _flags(
    click.option("--backbone", metavar="NAME", help="auto, embedded, clip or clip:ARCHITECTURE/TAG; see the models command."),
    click.option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.  [default: auto]"),
    click.option("--precision", metavar="TYPE", help="auto, float32 or bfloat16.  [default: auto]"),
    click.option("--offline", is_flag=True, default=None, help="Never ask the network for model weights."),
    click.option("--batch-size", type=int, metavar="N", help="Images per step of the model.  [default: 32]"),
    click.option("--workers", type=int, metavar="N", help="Processes that read and decode.  [default: one per CPU]"),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no notes; results and errors only."),
)


@commands.command()
@click.argument("source", type=str)
@click.option("--out", required=True, metavar="RUN", type=click.Path(path_type=Path), help="Run directory to write; an unfinished one is continued.")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Options file.  [default: audit.toml, then pyproject.toml]")
@click.option("--kind", metavar="KIND", help="How the dataset is stored, where that is not recognised.")
@click.option("--labels", "labels_file", metavar="FILE", help="File of labels, for images whose folder is not their class.")
@click.option("--class-words", "class_words_file", metavar="FILE", help="File of words for labels that are codes.")
@click.option("--path-column", metavar="NAME", help="Manifest column that holds the images' paths.")
@click.option("--image-column", metavar="NAME", help="Parquet column that holds the images' bytes.")
@click.option("--label-column", metavar="NAME", help="Column that holds the label.")
@click.option("--split-column", metavar="NAME", help="Column that holds the split.")
@click.option("--split", metavar="NAME", help="The split of every image, whatever folders and columns say.")
@click.option("--checkpoint", metavar="FILE", help="Local checkpoint for the CLIP architecture of --backbone.")
@SCANNING
@click.option("--neighbors", type=int, metavar="K", help="Nearest neighbors kept of each image.  [default: 20]")
@click.option("--max-pixels", type=int, metavar="N", help="Do not decode larger images.  [default: 178956970]")
@click.option("--min-precision", type=float, metavar="SHARE", help="Report duplicates down to this expected precision.  [default: 0.95]")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Do not run this check; may be repeated.")
@click.option("--set", "settings", multiple=True, metavar="CHECK.OPTION=VALUE", help="Set an option of one check; may be repeated.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything drawn at random.  [default: 0]")
@OUTPUT
def scan(
    source: str, out: Path, config: Path | None, settings: tuple[str, ...], *, quiet: bool, as_json: bool, color: bool | None, **options: Any
) -> None:
    """Audit the dataset SOURCE and write a run directory.

    SOURCE is a folder, a tar, a manifest, a Parquet file, a shard pattern or a URL. It is only read, never changed. The backbone is auto unless
    asked otherwise: CLIP where its weights are here or can be fetched, else the embedded model.
    """
    from audit.config import load

    of_source = ("kind", "labels_file", "class_words_file", "path_column", "image_column", "label_column", "split_column", "split")
    flags = {name: value for name, value in options.items() if name not in of_source}
    flags |= {"source": {name: options[name] for name in of_source}, "checks": _settings(settings)}
    _show(_scan(source, out, load(flags, Path.cwd(), config=config), quiet=quiet, color=color), as_json=as_json, color=color)


@commands.command()
@click.option(
    "--out", default="demo-run", metavar="RUN", type=click.Path(path_type=Path), show_default=True, help="Run directory; images go to RUN-images."
)
@SCANNING
@OUTPUT
def demo(out: Path, *, quiet: bool, as_json: bool, color: bool | None, **options: Any) -> None:
    """Plant known defects in a small real dataset and audit it.

    Needs no network: the photographs come with installed packages, and the backbone is the embedded one unless asked otherwise.
    """
    from audit import demo as demonstration
    from audit.config import load

    # The demo shows what the defaults find, whatever the folder it is run in says of another dataset.
    options["backbone"] = options["backbone"] or "embedded"
    images = out.with_name(f"{out.name}-images")
    planted = demonstration.make(images)
    run = _scan(str(images), out, load(options, images), quiet=quiet, color=color)
    outcomes = demonstration.compare(run, planted)
    if as_json:
        _print_json({"planted": [outcome.as_dict() for outcome in outcomes], "run": str(run.path), "images": str(images)})
        return
    _print(demonstration.describe(outcomes))
    _show(run, as_json=False, color=color)


@commands.command()
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
        _print_json(facts.as_dict())
    else:
        _print(facts.text(), nl=False, color=color)


@commands.command()
@OUTPUT
def checks(*, as_json: bool, color: bool | None) -> None:
    """List the checks: what each finds, needs and can be told."""
    from audit.checks import discover
    from audit.config import check_options

    rows: list[dict[str, Any]] = [
        {"name": check.name, "title": check.title, "needs": list(check.needs), "options": check_options(check.options)}
        for _, check in sorted(discover().items())
    ]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        _print(row["name"], bold=True, color=_wants_color(color=color))
        _print(f"  {safe(row['title'])}")
        _print(f"  needs: {', '.join(row['needs']) or 'nothing'}")
        for name, default in row["options"].items():
            _print(f"  option {row['name']}.{name} = {safe(default)}")


@commands.command()
@click.option("--offline", is_flag=True, help="Do not ask whether the model hub can be reached.")
@OUTPUT
def models(*, offline: bool, as_json: bool, color: bool | None) -> None:
    """List the image models and whether their weights are here."""
    import dataclasses

    from audit.backbones import list_models

    states = [dataclasses.asdict(state) for state in list_models(offline=offline)]
    if as_json:
        _print_json(states)
        return
    for state in states:
        size = f" {state['megabytes']:,.0f} MB" if state["state"] == "will download" and state["megabytes"] else ""
        _print(safe(state["name"]), bold=True, color=_wants_color(color=color), nl=False)
        _print(f"  {state['state']}{size}  licence: {safe(state['licence'])}")
        if state["note"]:
            _print(f"  {safe(state['note'])}")


def _scan(source: str, out: Path, options: Any, *, quiet: bool, color: bool | None) -> Run:
    from audit import scan as audit_scan

    try:
        with observer(quiet=quiet, color=color is not False) as watching:
            return audit_scan(source, out, options=options, observer=watching)
    except KeyboardInterrupt:
        _say("interrupted: what was done is kept; the same command resumes")
        raise click.exceptions.Exit(INTERRUPTED) from None


def _settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read ``CHECK.OPTION=VALUE``; the value is TOML, or text where it is none."""
    import tomllib

    tables: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, dot, option = name.strip().partition(".")
        if not (equals and dot and check and option):
            raise ConfigError("--set", f"{setting!r} is not CHECK.OPTION=VALUE", "write for example --set image_quality.OPTION=0.5")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        tables.setdefault(check, {})[option] = value
    return tables


def _show(run: Run, *, as_json: bool, color: bool | None) -> None:
    if as_json:
        _print(_format("json")(run), nl=False)
        return
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else None
    colors = _wants_color(color=color)
    _print(_format("text")(run, width=width, color=colors), nl=False, color=colors)


def _wants_color(*, color: bool | None) -> bool:
    if color is not None:
        return color
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _format(name: str) -> Callable[..., str]:
    """Load a report format by its entry point: the engine itself does not know the reports."""
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group=FORMATS)}
    if name not in found:
        raise ConfigError(f"format {name}", "is not installed", nearest(name, found) if found else "install imagenet-audit again")
    try:
        loaded: Callable[..., str] = found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"format {name}", f"cannot be loaded ({error})", _hidden_by(found[name].module)) from error
    return loaded


def _hidden_by(module: str) -> str:
    """Name the file that hides ours: a folder called ``reports`` in the working directory wins over the installed package."""
    top = sys.modules.get(module.partition(".")[0])
    place = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", [])), None)
    return f"{place} may hide the installed package: use the {PROGRAM} command or python -P" if place else "install imagenet-audit again"


def _print(text: str = "", *, nl: bool = True, bold: bool = False, color: bool | None = None) -> None:
    try:
        click.secho(text, nl=nl, bold=bold or None, color=color)
    except BrokenPipeError:
        # The reader has left, as in `| head`: no failure. What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


def _print_json(value: Any) -> None:
    import json

    _print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()

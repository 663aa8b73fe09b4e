"""``imagenet-audit report``: write a finished run as one file."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OFFLINE, PATH, SOURCE, listed
from audit.errors import ConfigError
from audit.io.console import safe, size
from audit.io.plugins import REPORT_FORMATS


@click.command()
@click.argument("run", type=PATH)
@click.option("--format", "name", metavar="NAME", help=f"Report format: {listed(REPORT_FORMATS)}.  [default: by the suffix of --out, else html]")
@click.option("--out", metavar="FILE", type=PATH, help="File to write, or - for standard output.  [default: RUN/report.SUFFIX]")
@SOURCE
@OFFLINE
def report(run: Path, name: str | None, out: Path | None, source: str | None) -> None:
    """Write a report of a finished run.

    The HTML report is a single file with its images embedded; it works offline.
    """
    from audit import open_run
    from audit.io.artifacts import replacing
    from audit.run.report_formats import report_format

    chosen = report_format(name or _by_suffix(out))
    text = chosen.render(open_run(run, source=source))
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    path = out or run / chosen.file
    if not path.parent.is_dir():
        raise ConfigError(path.parent, "no such folder", "create it, or choose another --out")
    data = text.encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(data)
    click.echo(f"wrote {safe(path)}: {chosen.name}, {size(len(data))}")


def _by_suffix(out: Path | None) -> str:
    """Return the format that a file's suffix selects."""
    from audit.run.report_formats import report_formats

    if out is None or str(out) == "-":
        return "html"
    suffixes = {ending: known.name for known in report_formats().values() for ending in known.endings}
    if out.suffix.lower() not in suffixes:
        raise ConfigError(out, f"no format has the suffix {out.suffix!r}", f"add --format, or use one of {', '.join(suffixes)}")
    return suffixes[out.suffix.lower()]

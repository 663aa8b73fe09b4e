"""``imagenet-audit report``: a finished run as a file to read, attach or compare."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import PATH, listed
from audit.errors import ConfigError
from audit.io.console import safe, size
from audit.io.plugins import REPORT_FORMATS


@click.command()
@click.argument("run", type=PATH)
@click.option("--format", "name", metavar="NAME", help=f"{listed(REPORT_FORMATS)}.  [default: by the ending of --out, else html]")
@click.option("--out", metavar="FILE", type=PATH, help="File to write; - prints.  [default: RUN/report.html, by the format]")
def report(run: Path, name: str | None, out: Path | None) -> None:
    """Write a report of a finished run.

    The HTML report is one file with its pictures inside: it works offline and asks nothing of any server.
    """
    from audit import open_run
    from audit.io.artifacts import replacing
    from audit.run.report_formats import report_format

    chosen = report_format(name or _by_ending(out))
    text = chosen.render(open_run(run))
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    place = out or run / chosen.file
    if not place.parent.is_dir():
        raise ConfigError(place.parent, "there is no such folder", "make it, or name another --out")
    data = text.encode("utf-8", "backslashreplace")
    with replacing(place) as file:
        file.write(data)
    click.echo(f"wrote {safe(place)}: {chosen.name}, {size(len(data))}")


def _by_ending(out: Path | None) -> str:
    """Return the format that a file's ending means."""
    from audit.run.report_formats import report_formats

    if out is None or str(out) == "-":
        return "html"
    endings = {ending: known.name for known in report_formats().values() for ending in known.endings}
    if out.suffix.lower() not in endings:
        raise ConfigError(out, f"no format has the ending {out.suffix!r}", f"name --format, or an ending of {', '.join(endings)}")
    return endings[out.suffix.lower()]

"""``imagenet-audit report``: a finished run as a file to read, attach or compare."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import PATH, report_format
from audit.errors import ConfigError
from audit.io.console import safe, size

ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv", ".txt": "text"}
"""Format by the file's ending."""


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--format", "name", metavar="NAME", help="html, markdown, json, csv, dataset_card or text.  [default: by the ending of --out, else html]"
)
@click.option("--out", metavar="FILE", type=PATH, help="File to write; - prints.  [default: RUN/report.html, by the format]")
def report(run: Path, name: str | None, out: Path | None) -> None:
    """Write a report of a finished run.

    The HTML report is one file with its pictures inside: it works offline and asks nothing of any server.
    """
    from audit import open_run
    from audit.io.artifacts import replacing
    from audit.pipeline.run_folder import REPORT_FILES

    if name is None and out is not None and str(out) != "-" and out.suffix.lower() not in ENDINGS:
        raise ConfigError(out, f"no format has the ending {out.suffix!r}", f"name --format, or an ending of {', '.join(ENDINGS)}")
    chosen = name or (ENDINGS.get(out.suffix.lower(), "html") if out else "html")
    text = report_format(chosen)(open_run(run))
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    place = out or run / REPORT_FILES.get(chosen, "report.txt")
    if not place.parent.is_dir():
        raise ConfigError(place.parent, "there is no such folder", "make it, or name another --out")
    data = text.encode("utf-8", "backslashreplace")
    with replacing(place) as file:
        file.write(data)
    click.echo(f"wrote {safe(place)}: {chosen}, {size(len(data))}")

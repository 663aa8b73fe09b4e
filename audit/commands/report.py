"""``imagenet-audit report``: write a finished run as one file."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import PATH, report_format
from audit.errors import ConfigError
from audit.io.console import safe, size

ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv", ".txt": "text"}
"""File suffix -> format."""


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--format", "name", metavar="NAME", help="html, markdown, json, csv, dataset_card or text.  [default: by the suffix of --out, else html]"
)
@click.option("--out", metavar="FILE", type=PATH, help="File to write, or - for standard output.  [default: RUN/report.SUFFIX]")
def report(run: Path, name: str | None, out: Path | None) -> None:
    """Write a report of a finished run.

    The HTML report is a single file with its images embedded; it works offline.
    """
    from audit import open_run
    from audit.io.artifacts import replacing
    from audit.pipeline.run_folder import REPORT_FILES

    if name is None and out is not None and str(out) != "-" and out.suffix.lower() not in ENDINGS:
        raise ConfigError(out, f"no format has the suffix {out.suffix!r}", f"add --format, or use one of {', '.join(ENDINGS)}")
    chosen = name or (ENDINGS.get(out.suffix.lower(), "html") if out else "html")
    text = report_format(chosen)(open_run(run))
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    path = out or run / REPORT_FILES.get(chosen, "report.txt")
    if not path.parent.is_dir():
        raise ConfigError(path.parent, "no such folder", "create it, or name another --out")
    data = text.encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(data)
    click.echo(f"wrote {safe(path)}: {chosen}, {size(len(data))}")

"""``imagenet-audit export``: write findings and decisions as files for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OFFLINE, OUTPUT, PATH, SOURCE, how_to_decide, listed, print_json, print_text
from audit.io.console import counted, safe, size
from audit.io.plugins import EXPORTS

INCOMPLETE = 1

_DECIDED = {"corrected-labels": "relabelled", "drop-list": "dropped"}
"""Exports of reviewers' decisions, empty if there are none -> past participle of the decision."""


@click.command()
@click.argument("run", type=PATH)
@click.option("--what", metavar="KIND", help=f"What to export: {listed(EXPORTS)}.")
@click.option("--out", metavar="PATH", type=PATH, help="File (.csv, .jsonl, .parquet, .json) or folder to write.")
@click.option(
    "--strip-metadata",
    metavar="FOLDER",
    type=PATH,
    help="Write copies of the images without metadata; short for --what stripped-images --out FOLDER.",
)
@SOURCE
@OFFLINE
@OUTPUT
def export(
    run: Path, what: str | None, out: Path | None, strip_metadata: Path | None, *, source: str | None, as_json: bool, color: bool | None
) -> int:
    """Export findings and decisions to files for other tools.

    The dataset itself is never changed.

    Exit codes: 0 written; 1 written, but some readable images could not be copied; 2 error, nothing written.
    """
    del color
    from audit import open_run
    from audit.exports import export as exported

    if strip_metadata is not None:
        if what is not None or out is not None:
            raise click.UsageError("--strip-metadata replaces --what and --out; omit them")
        what, out = "stripped-images", strip_metadata
    if what is None or out is None:
        raise click.UsageError("missing --what and --out, or --strip-metadata")
    written = exported(open_run(run, source=source), what, out)
    if as_json:
        print_json({"what": what, "out": str(out), **written})
    else:
        print_text(f"wrote {safe(out)}: {_summary(written)}")
        if what in _DECIDED and not written["images"]:
            print_text(f"note: no image was {_DECIDED[what]} by reviewers (disputed decisions do not count); {how_to_decide(run)}")
        if written.get("groups_gone"):
            number = counted(written["groups_gone"], "duplicate group")
            print_text(f"note: every image of {number} would be dropped; see Decisions & export in the dashboard")
        if "refused" in written:
            from audit.exports.stripped_images import new_names, refusals

            for path, title in ((refusals(out), "skipped images and reasons"), (new_names(out), "renamed copies")):
                if path.exists():
                    print_text(f"{title}: {safe(path)}")
    return INCOMPLETE if written.get("refused") else 0


def _summary(written: dict[str, int]) -> str:
    """Return the counts as text; ``groups_gone`` has its own note."""
    parts = [f"{name} {number:,}" for name, number in written.items() if name not in ("bytes_removed", "groups_gone")]
    if (removed := written.get("bytes_removed", 0)) > 0:
        parts.append(f"{size(removed)} of metadata removed")
    return ", ".join(parts)

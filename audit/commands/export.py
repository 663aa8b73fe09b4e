"""``imagenet-audit export``: turn findings and decisions into files for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from audit.commands.base import OUTPUT, PATH, how_to_decide, listed, print_json, print_text
from audit.io.console import counted, safe, size
from audit.io.plugins import EXPORTS

INCOMPLETE = 1

_DECIDED = {"corrected-labels": "relabelled", "drop-list": "dropped"}
"""Lists of what reviewers decided: empty where they did not."""


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--what",
    metavar="KIND",
    help=f"{listed(EXPORTS)}.",
)
@click.option("--out", metavar="FILE", type=PATH, help="File (.csv, .jsonl, .parquet, .json) or folder to write.")
@click.option(
    "--strip-metadata",
    metavar="FOLDER",
    type=PATH,
    help="Write copies of the images without metadata: the same as --what stripped-images --out FOLDER.",
)
@OUTPUT
def export(run: Path, what: str | None, out: Path | None, strip_metadata: Path | None, *, as_json: bool, color: bool | None) -> int:
    """Write what was found and decided for other tools; the dataset itself is never touched.

    Exit codes: 0 written, 1 copies of some images were refused (those that failed in the scan do not count), 2 nothing was written.
    """
    del color
    from audit import open_run
    from audit.exports import export as exported

    if strip_metadata is not None:
        if what is not None or out is not None:
            raise click.UsageError("--strip-metadata names what is written and where; leave out --what and --out")
        what, out = "stripped-images", strip_metadata
    if what is None or out is None:
        raise click.UsageError("--what and --out are needed, or --strip-metadata")
    written = exported(open_run(run), what, out)
    if as_json:
        print_json({"what": what, "out": str(out), **written})
    else:
        print_text(f"wrote {safe(out)}: {_told(written)}")
        if what in _DECIDED and not written["images"]:
            print_text(f"note: no image is decided to be {_DECIDED[what]}; {how_to_decide(run)}")
        if written.get("groups_gone"):
            print_text(f"note: of {counted(written['groups_gone'], 'group')} of copies every image would go; look at them under Decisions & export")
        if "refused" in written:
            from audit.exports.stripped_images import new_names, refusals

            for place, about in ((refusals(out), "left out, with the reasons"), (new_names(out), "under other names than their images")):
                if place.exists():
                    print_text(f"{about}: {safe(place)}")
    return INCOMPLETE if written.get("refused") else 0


def _told(written: dict[str, int]) -> str:
    """Return what was written in words; a note of its own tells of ``groups_gone``."""
    parts = [f"{name} {number:,}" for name, number in written.items() if name not in ("bytes_removed", "groups_gone")]
    if (removed := written.get("bytes_removed", 0)) > 0:
        parts.append(f"{size(removed)} of metadata removed")
    return ", ".join(parts)

"""``imagenet-audit scan``: scan a dataset and write a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, PATH, READING, SCANNING, of_source, run_scan, show_run
from audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("source", type=str)
@click.option("--out", required=True, metavar="RUN", type=PATH, help="Run directory to write; an interrupted scan resumes.")
@click.option("--config", metavar="FILE", type=PATH, help="Options file.  [default: audit.toml, then pyproject.toml]")
@READING
@click.option("--checkpoint", metavar="FILE", help="Local checkpoint for the CLIP or timm architecture of --backbone.")
@click.option("--embeddings", metavar="FILE", help="Your own embeddings (.npy or .parquet) instead of a backbone's.")
@click.option("--predictions", metavar="FILE", help="Your own out-of-sample class probabilities (.npy, .parquet or .csv).")
@click.option("--predict", metavar="METHOD", help="What predicts labels: embeddings, or finetune (slower, finds more).  [default: embeddings]")
@click.option("--finetune-pixels", type=int, metavar="N", help="Side of the images for --predict finetune.  [default: by dataset and device]")
@SCANNING
@click.option("--neighbors", type=int, metavar="K", help="Nearest neighbors stored per image.  [default: 20]")
@click.option("--faces", is_flag=True, default=None, help="Detect faces locally; needs imagenet-audit[faces] and reads the images again.")
@click.option("--max-pixels", type=int, metavar="N", help="Do not decode images with more pixels.  [default: 178956970]")
@click.option("--max-bytes", type=int, metavar="N", help="Do not read larger files and archive members.  [default: 536870912]")
@click.option("--seconds-per-image", type=float, metavar="S", help="Give up on an image that takes longer.  [default: 30]")
@click.option("--min-precision", type=float, metavar="SHARE", help="Report duplicates down to this expected precision.  [default: 0.95]")
@click.option("--only", multiple=True, metavar="CHECK", help="Run only this check; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Do not run this check; may be repeated.")
@click.option("--set", "settings", multiple=True, metavar="CHECK.OPTION=VALUE", help="Set an option of a check; may be repeated.")
@click.option("--seed", type=int, metavar="N", help="Random seed.  [default: 0]")
@OUTPUT
def scan(
    source: str, out: Path, config: Path | None, settings: tuple[str, ...], *, quiet: bool, as_json: bool, color: bool | None, **options: Any
) -> None:
    """Scan the dataset SOURCE and write a run directory.

    SOURCE is a folder, tar file, manifest, Parquet file, shard pattern or URL. It is never changed. The backbone auto is CLIP if its weights are on
    this machine or can be downloaded, else the embedded model.
    """
    from audit.config import load

    source_flags = of_source(options)
    flags = {name: value for name, value in options.items() if name not in source_flags}
    flags |= {"source": source_flags, "checks": check_settings(settings)}
    show_run(run_scan(source, out, load(flags, Path.cwd(), config=config), quiet=quiet, color=color), as_json=as_json, color=color)


def check_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse ``CHECK.OPTION=VALUE`` settings; a value that is not TOML is taken as text."""
    import tomllib

    tables: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, dot, option = name.strip().partition(".")
        if not (equals and dot and check and option):
            raise ConfigError("--set", f"{setting!r} is not CHECK.OPTION=VALUE", "list the options with: imagenet-audit checks")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        tables.setdefault(check, {})[option] = value
    return tables

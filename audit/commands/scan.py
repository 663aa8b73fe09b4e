"""``imagenet-audit scan``: scan a dataset and write a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, PATH, SCANNING, listed, run_scan, show_run
from audit.errors import ConfigError
from audit.io.plugins import SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("source", type=str)
@click.option("--out", required=True, metavar="RUN", type=PATH, help="Run directory to write; an interrupted scan resumes.")
@click.option("--config", metavar="FILE", type=PATH, help="Options file.  [default: audit.toml, then pyproject.toml]")
@click.option("--kind", metavar="KIND", help=f"Dataset format, if it is not recognised: {listed(SOURCES)}.")
@click.option("--labels", "labels_file", metavar="FILE", help="Label file, for images whose folder is not their class.")
@click.option("--class-words", "class_words_file", metavar="FILE", help="File that maps label codes to class names.")
@click.option("--taxonomy", "taxonomy_file", metavar="FILE", help="Class hierarchy (WordNet's data.noun, JSON, ...).")
@click.option("--path-column", metavar="NAME", help="Manifest column with the image paths.")
@click.option("--image-column", metavar="NAME", help="Parquet column with the image bytes.")
@click.option("--label-column", metavar="NAME", help="Column with the label.")
@click.option("--split-column", metavar="NAME", help="Column with the split.")
@click.option("--split", metavar="NAME", help="Put every image in this split, ignoring folders and columns.")
@click.option("--group-column", metavar="NAME", help="Column with the patient, product, video, session or sender of an image.")
@click.option("--group-pattern", metavar="REGEX", help="Pattern that finds an image's group in its sample id.")
@click.option("--checkpoint", metavar="FILE", help="Local checkpoint for the CLIP or timm architecture of --backbone.")
@click.option("--embeddings", metavar="FILE", help="Your own embeddings (.npy or .parquet) instead of a backbone's.")
@click.option("--predictions", metavar="FILE", help="Your own out-of-sample class probabilities (.npy, .parquet or .csv).")
@click.option("--predict", metavar="METHOD", help="What predicts labels: embeddings, or finetune (slower, finds more).  [default: embeddings]")
@click.option("--finetune-pixels", type=int, metavar="N", help="Side of the images for --predict finetune.  [default: by dataset and device]")
@SCANNING
@click.option("--neighbors", type=int, metavar="K", help="Nearest neighbors stored per image.  [default: 20]")
@click.option("--faces", is_flag=True, default=None, help="Detect faces locally; needs imagenet-audit[faces] and reads the images again.")
@click.option("--max-pixels", type=int, metavar="N", help="Do not decode images with more pixels.  [default: 178956970]")
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

    columns = ("path_column", "image_column", "label_column", "split_column", "split", "group_column", "group_pattern")
    of_source = ("kind", "labels_file", "class_words_file", "taxonomy_file", *columns)
    flags = {name: value for name, value in options.items() if name not in of_source}
    flags |= {"source": {name: options[name] for name in of_source}, "checks": check_settings(settings)}
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

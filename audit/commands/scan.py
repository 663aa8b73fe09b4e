"""``imagenet-audit scan``: audit a dataset and write a run directory."""

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
@click.option("--out", required=True, metavar="RUN", type=PATH, help="Run directory to write; an unfinished one is continued.")
@click.option("--config", metavar="FILE", type=PATH, help="Options file.  [default: audit.toml, then pyproject.toml]")
@click.option("--kind", metavar="KIND", help=f"How the dataset is stored, where that is not recognised: {listed(SOURCES)}.")
@click.option("--labels", "labels_file", metavar="FILE", help="File of labels, for images whose folder is not their class.")
@click.option("--class-words", "class_words_file", metavar="FILE", help="File of words for labels that are codes.")
@click.option("--taxonomy", "taxonomy_file", metavar="FILE", help="What lies above the classes (WordNet's data.noun, JSON, ...).")
@click.option("--path-column", metavar="NAME", help="Manifest column that holds the images' paths.")
@click.option("--image-column", metavar="NAME", help="Parquet column that holds the images' bytes.")
@click.option("--label-column", metavar="NAME", help="Column that holds the label.")
@click.option("--split-column", metavar="NAME", help="Column that holds the split.")
@click.option("--split", metavar="NAME", help="The split of every image, whatever folders and columns say.")
@click.option("--checkpoint", metavar="FILE", help="Local checkpoint for the CLIP architecture of --backbone.")
@click.option("--predictions", metavar="FILE", help="Your own out-of-sample class probabilities: .npy, .parquet or .csv.")
@SCANNING
@click.option("--neighbors", type=int, metavar="K", help="Nearest neighbors kept of each image.  [default: 20]")
@click.option("--faces", is_flag=True, default=None, help="Look for faces, on this machine; needs imagenet-audit[faces], reads the images again.")
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

    of_source = ("kind", "labels_file", "class_words_file", "taxonomy_file", "path_column", "image_column", "label_column", "split_column", "split")
    flags = {name: value for name, value in options.items() if name not in of_source}
    flags |= {"source": {name: options[name] for name in of_source}, "checks": check_settings(settings)}
    show_run(run_scan(source, out, load(flags, Path.cwd(), config=config), quiet=quiet, color=color), as_json=as_json, color=color)


def check_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
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

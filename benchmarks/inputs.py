"""Validate the inputs of benchmarks before anything is measured: argparse types, whose errors are one line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageOps

_ENDINGS = frozenset({".jpg", ".jpeg", ".png"})


def photos_of(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)


def images(*below: str) -> Callable[[str], Path]:
    """Return an argparse type: a folder with images, or with images in each of the subfolders ``below``."""

    def read(text: str) -> Path:
        for folder in (Path(text, part) for part in below or ("",)):
            if not folder.is_dir():
                raise argparse.ArgumentTypeError(f"{folder}: is not a folder")
            if not photos_of(folder):
                raise argparse.ArgumentTypeError(f"{folder}: contains no {', '.join(sorted(_ENDINGS))} file")
        return Path(text)

    return read


def table(*columns: str) -> Callable[[str], Path]:
    """Return an argparse type: a CSV with the columns."""

    def read(text: str) -> Path:
        try:
            found = list(pd.read_csv(text, nrows=0).columns)
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text}: is not a readable CSV ({error})") from error
        if lacking := [name for name in columns if name not in found]:
            raise argparse.ArgumentTypeError(f"{text}: has no column {', '.join(lacking)}; it has {', '.join(map(str, found))}")
        return Path(text)

    return read


def noted(text: str) -> Any:
    """Return the content of a JSON file."""
    try:
        return json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text}: is not readable JSON ({error})") from error


@dataclass(frozen=True)
class Field:
    """Images of one field, and verdicts on some of their pairs."""

    name: str
    folder: Path
    verdicts: Path | None

    def pixels(self, name: str) -> npt.NDArray[np.uint8]:
        """Return an upright image."""
        with Image.open(self.folder / name) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


def field(argument: str) -> Field:
    """Read ``NAME=FOLDER[:PAIRS.csv]``."""
    name, _, paths = argument.partition("=")
    folder, _, table = paths.partition(":")
    if not name or not photos_of(Path(folder)) or (table and not Path(table).is_file()):
        raise argparse.ArgumentTypeError(f"{argument}: give NAME=FOLDER or NAME=FOLDER:PAIRS.csv, with images in the folder")
    return Field(name, Path(folder), Path(table) if table else None)

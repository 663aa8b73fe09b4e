"""Validate the inputs of benchmarks before anything is measured: argparse types, whose errors are one line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

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

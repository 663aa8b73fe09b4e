"""What measurements are given, looked at before anything is measured: types for argparse, whose errors are one line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

_ENDINGS = frozenset({".jpg", ".jpeg", ".png"})


def photos_of(folder: Path) -> list[Path]:
    """Return the image files below a folder, by their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)


def images(*below: str) -> Callable[[str], Path]:
    """Return a type: a folder that has an image in it, or in each of the folders ``below`` it."""

    def read(text: str) -> Path:
        for folder in (Path(text, part) for part in below or ("",)):
            if not folder.is_dir():
                raise argparse.ArgumentTypeError(f"{folder}: is no folder")
            if not photos_of(folder):
                raise argparse.ArgumentTypeError(f"{folder}: has no image that ends in {', '.join(sorted(_ENDINGS))}")
        return Path(text)

    return read


def table(*columns: str) -> Callable[[str], Path]:
    """Return a type: a CSV that has the columns."""

    def read(text: str) -> Path:
        try:
            found = list(pd.read_csv(text, nrows=0).columns)
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text}: is no CSV that can be read ({error})") from error
        if lacking := [name for name in columns if name not in found]:
            raise argparse.ArgumentTypeError(f"{text}: has no column {', '.join(lacking)}; it has {', '.join(map(str, found))}")
        return Path(text)

    return read


def noted(text: str) -> Any:
    """Return what a JSON file holds."""
    try:
        return json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text}: is no JSON that can be read ({error})") from error

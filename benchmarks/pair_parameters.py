"""Choose the parameters of screening and comparison on several fields, and test each choice on the field that it left out.

    python benchmarks/pair_parameters.py clothing=FOLDER:PAIRS.csv signs=FOLDER:PAIRS.csv photos=FOLDER [--images 6]

Each field is a folder of images, with or without a table ``sample_i, sample_j, verdict``. Pairs of each field: edited copies (``edits.py``); judged
pairs that are not copies; images of another subject before a fixed camera, made here (other light, other noise, and a part of another image); pairs
drawn at random. A parameter is varied while the others keep their values. The loss of a field is the share of copies that are lost plus the share of
the others that are kept. Prints, for each parameter and field, the value with the least mean loss on the other fields, and the loss of the field with
that value and with the one in use.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from edits import EDITS
from inputs import Field, field, photos_of
from PIL import Image

from audit.images.local_features import LocalFeatures, features, local_features
from audit.pairs import details, score, screening
from audit.pairs.confirmation import compare_images
from audit.pairs.evidence import Evidence, concatenated
from audit.pairs.pairs import PairOptions
from audit.processes import available_cpus

Pixels = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

CAMERA = ((0.97, 1.03, 2, 0.2), (0.95, 1.05, 4, 0.3), (0.9, 1.0, 1, 0.35), (1.0, 1.0, 3, 0.25))
"""Light of the two shots, standard deviation of the noise, and sides of the other subject as a share of the image's."""


class Pair(NamedTuple):
    """Two images, as screening and comparison see them."""

    field: str
    kind: str
    stored: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.float32]
    sides: tuple[LocalFeatures, LocalFeatures]


class Parameter(NamedTuple):
    """A constant of a module, what it decides, and the values that are tried."""

    module: ModuleType
    name: str
    decides: str
    """``screened``, ``compared``, or ``scored``: a later step is not repeated."""
    tried: Sequence[float]


PARAMETERS = (
    Parameter(screening, "FARTHEST", "screened", (16, 20, 24, 28, 32)),
    Parameter(screening, "_TURN", "screened", (4, 8, 12, 16)),
    Parameter(screening, "_SCALE", "screened", (3, 6, 9)),
    Parameter(screening, "_SHIFT", "screened", (6, 12, 18)),
    Parameter(details, "_HOPELESS", "compared", (0.5, 0.7, 0.8)),
    Parameter(details, "_BLACK", "compared", (15, 30, 50)),
    Parameter(details, "_WHITE", "compared", (205, 225, 240)),
    Parameter(details, "_PRINTED", "compared", (0.01, 0.03, 0.06, 0.12)),
    Parameter(details, "_DISAGREES", "compared", (0.1, 0.3, 0.5)),
    Parameter(details, "_SAME_GROUND", "compared", (-1.0, 0.3, 0.5, 0.7)),
    Parameter(score, "_ANOTHER_SUBJECT", "scored", (0.005, 0.01, 0.015, 0.02, 0.03, 0.05)),
)


def another_subject(image: Pixels, other: Pixels, draw: np.random.Generator, setting: tuple[float, float, float, float]) -> tuple[Pixels, Pixels]:
    """Return two shots by a fixed camera, of which the second shows a part of another image."""
    light, other_light, noise, share = setting
    height, width = (max(round(side * share), 8) for side in image.shape[:2])
    part = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    top, left = (int(draw.integers(0, side - size + 1)) for side, size in zip(image.shape[:2], (height, width), strict=True))
    changed = image.copy()
    changed[top : top + height, left : left + width] = part
    shots = (image * light, changed * other_light)
    one, two = (np.clip(shot + draw.normal(0, noise, shot.shape), 0, 255).astype(np.uint8) for shot in shots)
    return one, two


def images_of(one: Field, count: int) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Yield the kind and the two images of each pair of a field."""
    draw = random.Random(0)
    names = [str(path.relative_to(one.folder)) for path in photos_of(one.folder)]
    for number, name in enumerate(draw.sample(names, count)):
        pixels = one.pixels(name)
        for edit in EDITS:
            yield "copy", pixels, np.asarray(Image.open(io.BytesIO(EDITS[edit].copy(Image.fromarray(pixels)))).convert("RGB"))
        for setting in CAMERA:
            yield "another subject", *another_subject(pixels, one.pixels(draw.choice(names)), np.random.default_rng(number), setting)
    for _ in range(8 * count):
        yield "random", *(one.pixels(name) for name in draw.sample(names, 2))
    if one.verdicts:
        judged = pd.read_csv(one.verdicts)
        judged = judged[judged["verdict"].isin(["same_scene", "different"]) & judged["sample_i"].isin(names) & judged["sample_j"].isin(names)]
        for pair in judged.sample(min(10 * count, len(judged)), random_state=0).itertuples():
            yield "judged", one.pixels(pair.sample_i), one.pixels(pair.sample_j)


def prepared(one: Field, count: int) -> list[Pair]:
    """Return the pairs of a field."""

    def prepare(images: tuple[str, Pixels, Pixels]) -> Pair:
        kind, *sides = images
        widths = np.array([255 * side.shape[1] / max(side.shape[:2]) for side in sides], np.float32)
        return Pair(one.name, kind, np.stack([features(side) for side in sides]), widths, (local_features(sides[0]), local_features(sides[1])))

    with ThreadPoolExecutor(available_cpus()) as threads:  # OpenCV releases the GIL
        return list(threads.map(prepare, images_of(one, count)))


def screened(pairs: Sequence[Pair]) -> screening.Votes:
    """Return how many features of each pair agree."""
    stored = np.concatenate([pair.stored for pair in pairs])
    limits = np.full(stored.shape[:2], 255, np.uint8)
    rows = np.arange(0, len(stored), 2)
    return screening.votes(stored, np.concatenate([pair.widths for pair in pairs]), limits, rows, rows + 1)


def compared(pairs: Sequence[Pair], mirrored: Flags) -> Evidence:
    """Return the evidence of each pair."""
    with ThreadPoolExecutor(available_cpus()) as threads:
        found = threads.map(lambda pair, turned: compare_images(*pair.sides, mirrored=bool(turned)), pairs, mirrored)
        return concatenated(list(found))


@contextmanager
def changed(parameter: Parameter, value: float) -> Iterator[None]:
    """Give a parameter another value."""
    before = getattr(parameter.module, parameter.name)
    setattr(parameter.module, parameter.name, value)
    try:
        yield
    finally:
        setattr(parameter.module, parameter.name, before)


def losses(table: pd.DataFrame, kept: Flags) -> pd.Series:
    """Return the share of copies that are lost plus the share of others that are kept, by field."""
    copy = table["kind"] == "copy"
    wrong = pd.Series(np.where(copy, ~kept, kept), index=table.index)
    return wrong.groupby([table["field"], copy]).mean().groupby("field").sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="+", type=field, metavar="NAME=FOLDER[:PAIRS.csv]")
    parser.add_argument("--images", type=int, default=6, help="images of each field of which copies are made")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pairs = [pair for one in arguments.fields for pair in prepared(one, arguments.images)]
    table = pd.DataFrame({"field": [pair.field for pair in pairs], "kind": [pair.kind for pair in pairs]})
    agree = screened(pairs)
    evidence = compared(pairs, agree.mirrored)
    worth = PairOptions().least_votes

    def is_copy(found: Evidence) -> Flags:
        return np.asarray(score.score(found, np.zeros(len(found.votes), np.float32)).copy >= 0.5)

    # A random pair stands for what screening must leave out; judged pairs and other subjects agree in many features.
    by_screening = table["kind"].isin(["copy", "random"])
    decide: dict[str, Callable[[], Any]] = {
        "screened": lambda: losses(table[by_screening], screened([pair for pair in pairs if pair.kind in ("copy", "random")]).count >= worth),
        "compared": lambda: losses(table, is_copy(compared(pairs, agree.mirrored))),
        "scored": lambda: losses(table, is_copy(evidence)),
    }
    print(pd.crosstab(table["field"], table["kind"]), "\n")
    print("| parameter | in use | field left out | chosen on the others | loss with it | loss with the one in use |\n|---|---|---|---|---|---|")
    for parameter in PARAMETERS:
        now = float(getattr(parameter.module, parameter.name))
        tried = {}
        for value in sorted({*parameter.tried, now}):
            with changed(parameter, value):
                tried[value] = decide[parameter.decides]()
        loss = pd.DataFrame(tried)
        for one in loss.index:
            mean = loss.drop(index=one).mean()
            best = min(mean.index, key=lambda value: (round(float(mean[value]), 4), abs(value - now)))  # of equal ones, the one in use
            print(f"| {parameter.name} | {now:g} | {one} | {best:g} | {loss.loc[one, best]:.3f} | {loss.loc[one, now]:.3f} |", flush=True)
        print(f"| {parameter.name} | {now:g} | none | {loss.mean().round(4).to_dict()} | | |", flush=True)


if __name__ == "__main__":
    main()

"""Plant shortcuts of known strength in a scanned dataset with shuffled labels, and count what the check finds.

    imagenet-audit scan DATASET --out RUN
    python benchmarks/planted_bias.py RUN [--seeds 20]

Labels are shuffled first, so nothing but what is planted gives a class away and every other finding is false. Thumbnails and measures of the run are
changed in memory; the dataset and the run are not touched.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import audit
from audit.checks.base import Skipped
from audit.checks.shortcuts import Options, run

Plant = Callable[[pd.DataFrame, np.ndarray, np.ndarray, np.random.Generator], None]


def mark(share: float, side: int) -> Plant:
    """An opaque mark of ``side`` thumbnail pixels somewhere, the same place for a class, on a share of it."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        down, right = random.integers(0, 32 - side, 2)
        picture = random.integers(0, 256, (side, side, 3))
        for row in rows[random.random(len(rows)) < share]:
            noisy = picture + random.integers(-4, 5, picture.shape)  # as JPEG leaves it
            thumbnails[row, down : down + side, right : right + side] = noisy.clip(0, 255)

    return plant


def shifted(column: str, deviations: float) -> Plant:
    """A measure moved by so many standard deviations."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        samples.loc[rows, column] += np.float32(deviations * samples[column].std())

    return plant


def valued(column: str, value: str, share: float) -> Plant:
    """One value of a property on a share of the class."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        samples.loc[rows[random.random(len(rows)) < share], column] = value

    return plant


PLANTED: dict[str, tuple[Plant, str, bool]] = {
    # name -> how, the kind of finding that tells, whether it is above the check's stated thresholds
    "mark 60%, 6 px": (mark(0.6, 6), "mark", True),
    "mark 60%, 4 px": (mark(0.6, 4), "mark", True),
    "mark 90%, 8 px": (mark(0.9, 8), "mark", True),
    "mark 30%, 6 px": (mark(0.3, 6), "mark", False),
    "mark 0%": (mark(0.0, 6), "mark", False),
    "brightness +2 sd": (shifted("brightness", 2), "property_brightness", True),
    "sharpness -1.5 sd": (shifted("sharpness", -1.5), "property_sharpness", True),
    "contrast +0.5 sd": (shifted("contrast", 0.5), "property_contrast", False),
    "camera 80%": (valued("camera", "ACME 1", 0.8), "property_camera", True),
    "format 70%": (valued("format", "PNG", 0.7), "property_format", True),
    "camera 20%": (valued("camera", "ACME 2", 0.2), "property_camera", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    opened = audit.open_run(arguments.run)
    labelled = np.flatnonzero(opened.samples["label"].notna() & (opened.samples["outcome"] == "ok"))
    pristine, pictures = opened.samples.iloc[labelled].reset_index(drop=True), np.array(opened.thumbnails[labelled])
    found, asked, false, total, began = defaultdict(int), defaultdict(int), 0, 0, time.perf_counter()
    for seed in range(arguments.seeds):
        random = np.random.default_rng(seed)
        samples, thumbnails = pristine.copy(), pictures.copy()
        samples["label"] = random.permutation(samples["label"].to_numpy())
        classes = random.permutation(sorted(samples["label"].unique()))
        planted = {}
        for (name, (plant, kind, _)), label in zip(PLANTED.items(), classes, strict=False):
            plant(samples, thumbnails, np.flatnonzero(samples["label"] == label), random)
            planted[label, kind] = name
            asked[name] += 1
        result = run(samples, thumbnails, options=Options())
        if isinstance(result, Skipped):
            raise SystemExit(result.reason)
        for finding in result.findings:
            total += 1
            if (finding.label, finding.kind) in planted:
                found[planted[finding.label, finding.kind]] += 1
            else:
                false += 1
    print("| planted | found | of |\n|---|---|---|")
    for name in PLANTED:
        print(f"| {name} | {found[name]} | {asked[name]} |")
    strong = [name for name, (_, _, above) in PLANTED.items() if above]
    recall = sum(found[name] for name in strong) / sum(asked[name] for name in strong)
    print(f"\nabove the thresholds: recall {recall:.3f}; false findings {false} of {total} ({false / max(total, 1):.3f})")
    print(f"{(time.perf_counter() - began) / arguments.seeds:.1f} s a run of {len(samples):,} images in {len(classes)} classes")


if __name__ == "__main__":
    main()

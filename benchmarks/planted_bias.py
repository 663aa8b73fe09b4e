"""Plant shortcuts of known strength in a scanned dataset with shuffled labels, and count what the checks find.

    imagenet-audit scan DATASET --out RUN
    python benchmarks/planted_bias.py RUN [--seeds 20] [--each 60]
    python benchmarks/planted_bias.py RUN --unplanted 2 [--seeds 200 --first 1000]

Labels are shuffled first, so only planted effects give a class away and every other finding is false. Thumbnails and measures are changed in memory;
the dataset and the run are not modified. With ``--unplanted`` nothing is planted and labels stay: findings then show natural differences between
classes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import audit
from audit.checks import marks, same_source, shortcuts
from audit.checks.base import Finding, Skipped
from audit.tables import PAIRS

Plant = Callable[[pd.DataFrame, np.ndarray, np.ndarray, np.random.Generator], None]


def mark(share: float, side: int, opacity: float = 1.0, *, strokes: bool = False) -> Plant:
    """A mark of ``side`` thumbnail pixels at the same position on a share of a class: a colourful patch, or white strokes like letters."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        down, right = random.integers(0, 32 - side, 2)
        patch = np.full((side, side, 3), 255) if strokes else random.integers(0, 256, (side, side, 3))
        covered = opacity * ((random.random((side, side, 1)) < 0.5) if strokes else np.ones((side, side, 1)))
        for row in rows[random.random(len(rows)) < share]:
            under = thumbnails[row, down : down + side, right : right + side]
            noise = random.integers(-4, 5, patch.shape) * (covered > 0)  # like JPEG noise
            under[:] = ((1 - covered) * under + covered * patch + noise).clip(0, 255)

    return plant


def frame(share: float, width: int, level: int) -> Plant:
    """A frame of one gray level around the image."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        inside = np.zeros((32, 32), bool)
        inside[width:-width, width:-width] = True
        for row in rows[random.random(len(rows)) < share]:
            thumbnails[row][~inside] = level

    return plant


def session(share: float) -> Plant:
    """One camera and day for a share of the class; other images keep theirs."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        taken = rows[random.random(len(rows)) < share]
        samples.loc[taken, "camera"], samples.loc[taken, "day_code"] = "ACME 3", 7

    return plant


def shifted(column: str, deviations: float) -> Plant:
    """A measure shifted by a number of standard deviations."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        samples.loc[rows, column] += np.float32(deviations * samples[column].std())

    return plant


def valued(column: str, value: str, share: float) -> Plant:
    """One value of a property on a share of the class."""

    def plant(samples: pd.DataFrame, thumbnails: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> None:
        samples.loc[rows[random.random(len(rows)) < share], column] = value

    return plant


BESIDES = {
    "session": {"property_camera"},
    "camera": {"same_source"},
    "JPEG encoding": {"same_source"},
    "frame": {"property_border_brightness", "property_border_contrast"},
}
"""Other correct findings of an effect: a session has one camera; a camera or one encoding of equal-sized files is a source; a frame is a border."""

NOTHING = "mark on 0%"
"""A control without any effect: every finding about it is false."""

PLANTED: dict[str, tuple[Plant, str, bool]] = {
    # name -> effect, kind of the finding, whether it is well above the checks' thresholds
    "mark on 90%, 8 px": (mark(0.9, 8), "mark", True),
    "mark on 60%, 6 px": (mark(0.6, 6), "mark", True),
    "mark on 60%, 4 px": (mark(0.6, 4), "mark", True),
    "mark on 60%, 6 px, 35% opaque": (mark(0.6, 6, 0.35), "mark", True),
    "mark on 30%, 6 px": (mark(0.3, 6), "mark", True),
    "mark on 30%, 4 px": (mark(0.3, 4), "mark", True),
    "mark on 30%, 6 px, 50% opaque": (mark(0.3, 6, 0.5), "mark", True),
    "strokes on 60%, 8 px, 50% opaque": (mark(0.6, 8, 0.5, strokes=True), "mark", True),
    "strokes on 30%, 8 px": (mark(0.3, 8, strokes=True), "mark", True),
    "black frame on 50%, 1 px": (frame(0.5, 1, 0), "mark", True),
    "white frame on 30%, 2 px": (frame(0.3, 2, 255), "mark", True),
    "mark on 60%, 6 px, 10% opaque": (mark(0.6, 6, 0.1), "mark", False),
    "mark on 10%, 6 px": (mark(0.1, 6), "mark", False),
    "mark on 60%, 2 px": (mark(0.6, 2), "mark", False),
    NOTHING: (mark(0.0, 6), "mark", False),
    "brightness +2 sd": (shifted("brightness", 2), "property_brightness", True),
    "sharpness -1.5 sd": (shifted("sharpness", -1.5), "property_sharpness", True),
    "contrast +0.5 sd": (shifted("contrast", 0.5), "property_contrast", False),
    "camera on 80%": (valued("camera", "ACME 1", 0.8), "property_camera", True),
    "camera on 20%": (valued("camera", "ACME 2", 0.2), "property_camera", False),
    "format of 70%": (valued("format", "PNG", 0.7), "property_format", True),
    "JPEG encoding of 70%": (valued("encoder", "quality 60", 0.7), "property_encoder", True),
    "session of 60%": (session(0.6), "same_source", True),
    "session of 30%": (session(0.3), "same_source", True),
    "session of 5%": (session(0.05), "same_source", False),
    "format of 30%": (valued("format", "GIF", 0.3), "property_format", True),
}


def findings_of(samples: pd.DataFrame, thumbnails: np.ndarray) -> list[Finding]:
    """Run the three checks."""
    pairs = PAIRS.empty_table().to_pandas()
    results = [
        shortcuts.run(samples, pairs, {}, thumbnails, options=shortcuts.Options()),
        marks.run(samples, thumbnails, pairs, {}, options=marks.Options()),
        same_source.run(samples, pairs, {}, options=same_source.Options()),
    ]
    skipped = [result.reason for result in results if isinstance(result, Skipped)]
    if skipped:
        raise SystemExit("\n".join(skipped))
    return [finding for result in results if not isinstance(result, Skipped) for finding in result.findings]


def unplanted(samples: pd.DataFrame, thumbnails: np.ndarray, classes: int, seeds: range) -> None:
    """Print findings about a few classes without planted effects, a random choice for each seed."""
    labels, kinds = sorted(samples["label"].unique()), Counter()
    for seed in seeds:
        rows = np.flatnonzero(samples["label"].isin(np.random.default_rng(seed).choice(labels, classes, replace=False)))
        kinds.update({finding.kind for finding in findings_of(samples.iloc[rows].reset_index(drop=True), thumbnails[rows])})
    print(f"{len(seeds)} datasets of {classes} classes, true labels, nothing planted; with a finding: {dict(kinds) or 'none'}")


def is_false(finding: Finding, planted: dict[tuple[str, str], str], also: set[tuple[str, str]]) -> bool:
    """Return whether a finding, by class and kind, is neither planted nor a consequence of it."""
    about = (finding.label, finding.kind)
    return about not in also and planted.get(about, NOTHING) == NOTHING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first seed, for data that a method was not tuned on")
    parser.add_argument("--each", type=int, help="images per class; all by default")
    parser.add_argument("--unplanted", type=int, metavar="CLASSES", help="plant nothing, and use this many classes at a time")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    opened = audit.open_run(arguments.run)
    usable = opened.samples["label"].notna() & (opened.samples["outcome"] == "ok")
    if arguments.each:
        usable &= opened.samples[usable].sort_values("content_id").groupby("label").cumcount() < arguments.each
    labelled = np.flatnonzero(usable)
    pristine, originals = opened.samples.iloc[labelled].reset_index(drop=True), np.array(opened.thumbnails[labelled])
    if arguments.unplanted:
        unplanted(pristine, originals, arguments.unplanted, seeds)
        return
    natural = Counter(finding.kind for finding in findings_of(pristine, originals))
    found, asked, false, total, began = defaultdict(int), defaultdict(int), Counter(), 0, time.perf_counter()
    for seed in seeds:
        random = np.random.default_rng(seed)
        samples, thumbnails = pristine.copy(), originals.copy()
        samples["label"] = random.permutation(samples["label"].to_numpy())
        classes = random.permutation(sorted(samples["label"].unique()))
        planted, also = {}, set()
        for (name, (plant, kind, _)), label in zip(PLANTED.items(), classes, strict=False):
            plant(samples, thumbnails, np.flatnonzero(samples["label"] == label), random)
            planted[label, kind] = name
            also |= {(label, other) for word, others in BESIDES.items() if word in name for other in others}
            asked[name] += 1
        for finding in findings_of(samples, thumbnails):
            total += 1
            if (finding.label, finding.kind) in planted:
                found[planted[finding.label, finding.kind]] += 1
            false[finding.kind] += is_false(finding, planted, also)
    print("| planted | found | of |\n|---|---|---|")
    for name in PLANTED:
        print(f"| {name} | {found[name]} | {asked[name]} |")
    strong = [name for name, (_, _, above) in PLANTED.items() if above]
    recall = sum(found[name] for name in strong) / sum(asked[name] for name in strong)
    share = false.total() / max(total, 1)
    print(f"\nabove the thresholds: recall {recall:.3f}; false findings {false.total()} of {total} ({share:.3f}) {dict(+false) or ''}")
    print(f"with true labels, nothing planted: {dict(natural) or 'no finding'}")
    print(f"{(time.perf_counter() - began) / arguments.seeds:.1f} s per run of {len(samples):,} images in {len(classes)} classes")


if __name__ == "__main__":
    main()

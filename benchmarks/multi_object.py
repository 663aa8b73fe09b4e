"""Test the multi_object check on collages of two classes, made from a dataset's images, compared with ordinary images.

    python benchmarks/multi_object.py IMAGES RUN

IMAGES is a folder ``{split}/class/image`` and RUN a finished scan of it with at least 5,000 images, whose stored predictor is used.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
from inputs import images, photos_of
from PIL import Image

import audit
from audit.checks.multi_object import Options, two_likeliest
from audit.errors import AuditError
from audit.labels.statistics import confusion_matrix, overlapping
from audit.pipeline.predictions import PREDICTOR
from audit.predictions.predictor import load_predictor

PAIRS = 300


def collages(paths: list[Path], out: Path) -> list[set[str]]:
    """Write collages of two images side by side; return the classes on each."""
    draw = random.Random(0)
    shown: list[set[str]] = []
    while len(shown) < PAIRS:
        both = draw.sample(paths, 2)
        if both[0].parent.name == both[1].parent.name:
            continue
        left, right = (Image.open(path).convert("RGB").resize((64, 64)) for path in both)
        collage = Image.new("RGB", (128, 64))
        collage.paste(left, (0, 0))
        collage.paste(right, (64, 0))
        collage.save(out / f"{len(shown):03}.png")
        shown.append({path.parent.name for path in both})
    return shown


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=images())
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    paths = photos_of(given.images)
    if len({path.parent.name for path in paths}) < 2:
        parser.error(f"{given.images}: contains only one class; collages need two")
    try:
        run, options = audit.open_run(given.run), Options()
    except AuditError as error:
        parser.error(str(error))
    if not (given.run / PREDICTOR).is_file():
        parser.error(f"{given.run}: has no stored predictor; scan at least 5,000 labelled images")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "images").mkdir()
        shown = collages(paths, Path(scratch) / "images")
        scanned = audit.scan(
            Path(scratch) / "images", Path(scratch) / "run", options=audit.ScanOptions(backbone="embedded", offline=True, only=("integrity",))
        )
        judged = load_predictor(given.run / PREDICTOR)(np.asarray(scanned.embeddings), np.full(len(scanned), -1, np.int8))
    quality = run.label_quality
    mistaken = overlapping(
        confusion_matrix(quality["given"].to_numpy(np.int64), quality["predicted"].to_numpy(np.int64), len(run.classes)), options.confusable
    )
    print("| images | second class as likely | of these, both classes right | both among the two likeliest |\n|---|---|---|---|")
    for name, predictions in (("of two classes, side by side", judged), ("ordinary", np.asarray(run.predictions))):
        classes, likely = two_likeliest(predictions)
        counts = (likely[:, 1] >= options.least_ratio * likely[:, 0]) & (likely.sum(1) >= options.least_together) & ~np.asarray(mistaken[*classes.T])
        right = np.array([{run.classes[code] for code in pair} == both for pair, both in zip(classes.tolist(), shown, strict=False)])
        accuracy = f"{right[counts].mean():.0%} | {right.mean():.0%}" if predictions is judged else " | "
        print(f"| {len(predictions):,} {name} | {counts.mean():.1%} | {accuracy} |")


if __name__ == "__main__":
    main()

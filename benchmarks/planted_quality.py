"""Plant blur, darkness and overexposure in a random part of a scanned dataset, and count what image_quality finds.

    imagenet-audit scan DATASET --out RUN
    python benchmarks/planted_quality.py RUN [RUN ...] [--images 600] [--share 0.1] [--seed 0]

Each defect is planted in a share of the images: a Gaussian blur of 3 to 6 pixels at a short side of 256 (at least 1.2 pixels), darkening to or
brightening by a factor of 0.08 to 0.25. The planted images are measured again; the dataset and the run are not modified.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

import audit
from audit.checks import image_quality
from audit.images.measures import MEASURED_SIDE, quality, thumbnail

DEFECTS = ("blurred", "dark", "bright")


def damaged(pixels: np.ndarray, defect: str, random: np.random.Generator) -> np.ndarray:
    """Return an image with a defect, compressed as JPEG."""
    factor = random.uniform(0.08, 0.25)
    if defect == "blurred":
        deviation = max(random.uniform(3, 6) * min(pixels.shape[:2]) / MEASURED_SIDE, 1.2)
        worse = cv2.GaussianBlur(pixels, (0, 0), deviation)
    else:
        worse = pixels * factor if defect == "dark" else 255 - (255 - pixels.astype(float)) * factor
    _, packed = cv2.imencode(".jpg", worse.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)


def read(path: Path) -> np.ndarray | None:
    """Return an image, its short side at most `MEASURED_SIDE`."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        return None
    scale = min(1, MEASURED_SIDE / min(pixels.shape[:2]))
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| run | " + " | ".join(DEFECTS) + " | flagged without a planted defect |\n|---|" + "---|" * (len(DEFECTS) + 1))
    for path in arguments.runs:
        random = np.random.default_rng(arguments.seed)
        run = audit.open_run(path)
        rows = np.sort(random.permutation(np.flatnonzero(run.samples["outcome"] == "ok"))[: arguments.images])
        samples, thumbnails = run.samples.iloc[rows].reset_index(drop=True), np.array(run.thumbnails[rows])
        folder = Path(run.record["source"]["absolute"])
        planted = np.full(len(rows), "", object)
        for row, name in enumerate(samples["sample_id"]):
            at = int(random.random() / arguments.share)
            pixels = read(folder / name) if at < len(DEFECTS) else None
            if pixels is None:
                continue
            planted[row] = DEFECTS[at]
            worse = np.ascontiguousarray(damaged(pixels, DEFECTS[at], random)[:, :, ::-1])
            for column, value in quality(worse).items():
                samples.loc[row, column] = value
            thumbnails[row] = thumbnail(worse)
        findings = image_quality.run(samples, thumbnails, options=image_quality.Options()).findings
        found = Counter(finding.kind for finding in findings if finding.row is not None and planted[finding.row] == finding.kind)
        others = Counter(finding.kind for finding in findings if finding.row is not None and not planted[finding.row])
        cells = [f"{found[defect]} of {(planted == defect).sum()}" for defect in DEFECTS]
        rest = ", ".join(f"{number} {kind}" for kind, number in sorted(others.items())) or "none"
        print(f"| {path.name} | {' | '.join(cells)} | {rest}, of {(planted == '').sum()} |", flush=True)


if __name__ == "__main__":
    main()

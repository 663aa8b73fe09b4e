"""Measure accuracy and time of face detection on the images that scikit-image ships.

``python benchmarks/faces.py``. The photographs and drawings were labelled by eye: two show a face (astronaut, camera).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, UnidentifiedImageError

from audit.images.faces import detect

WITH_A_FACE = {"astronaut.png", "camera.png"}
ENDINGS = {".png", ".jpg", ".gif", ".tif"}
LEAST_CONFIDENCE = 0.5
PORTRAITS = 100
"""The first hundred images of ``lfw_subset`` are portraits, the other hundred are patches without a face."""


def main() -> None:
    """Print the table."""
    folder = Path(skimage.data.__file__).parent
    spent, count, found = 0.0, 0, {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in ENDINGS:
            continue
        try:
            pixels = np.asarray(Image.open(path).convert("RGB"))
        except UnidentifiedImageError:
            continue
        began = time.process_time()
        faces = [face for face in detect(pixels) if face.confidence >= LEAST_CONFIDENCE]
        spent, count, found[path.name] = spent + time.process_time() - began, count + 1, len(faces)
    hits = sum(found[name] > 0 for name in WITH_A_FACE)
    others = {name for name, faces in found.items() if faces and name not in WITH_A_FACE}
    print("| images | with a face | found | wrongly found | CPU ms each |", "|---|---|---|---|---|", sep="\n")
    print(f"| {count} photographs and drawings | {len(WITH_A_FACE)} | {hits} | {len(others)} | {1000 * spent / count:.1f} |")
    patches = [np.dstack([patch] * 3) for patch in (np.load(folder / "lfw_subset.npy") * 255).astype(np.uint8)]
    began = time.process_time()
    seen = np.array([any(face.confidence >= LEAST_CONFIDENCE for face in detect(patch)) for patch in patches])
    spent = time.process_time() - began
    right, wrong = seen[:PORTRAITS].sum(), seen[PORTRAITS:].sum()
    print(f"| {len(patches)} patches of 25 pixels | {PORTRAITS} | {right} | {wrong} | {1000 * spent / len(patches):.1f} |")


if __name__ == "__main__":
    main()

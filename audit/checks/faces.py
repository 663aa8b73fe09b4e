"""Faces in images, with their positions and classes.

Why it matters: a published face is personal data in most jurisdictions, and a model trained on a class full of faces learns the people instead of the
object. Faces are only located: no person is identified, and age, sex and origin are not estimated.

Blind spots: faces seen from behind or the side, covered, rotated by more than about 30 degrees, smaller than a thirtieth of the image or larger than
it. Drawings, statues and animals are sometimes detected as faces. An image without a detected face may still show a person.

Paper: Wu, Peng & Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result
from audit.errors import ConfigError
from audit.labels.images_per_class import images_of_classes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

KINDS = ("face", "faces")
FAMILY: Family = "bias"
EVIDENCE = {
    "boxes": Evidence("Boxes"),
    "confidences": Evidence("Confidences"),
    "faces": Evidence("Faces"),
    "images": Evidence("Images"),
    "classes": Evidence("Classes"),
    "images_per_class": Evidence("Images per class", by_name=True),
}

_MOST_BOXES = 50


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which boxes count as faces."""

    least_confidence: float = 0.5
    """Confidence from which a box counts, 0.2 to 1; 0.5 is the default of the detector's authors."""

    def __post_init__(self) -> None:
        if not 0.2 <= self.least_confidence <= 1:
            raise ConfigError("least_confidence", f"{self.least_confidence} is out of range", "use 0.2 to 1")


def run(samples: pd.DataFrame, faces: pd.DataFrame, *, options: Options) -> Result:
    """Report each image with faces, and the dataset once; the score is the highest confidence in the image."""
    rows = faces["row"].to_numpy(np.int64)
    confidence = faces["confidence"].to_numpy(np.float32)
    scores = np.where((samples["outcome"] == "ok").to_numpy(bool), np.float32(0), np.float32(np.nan)).astype(np.float32)
    np.maximum.at(scores, rows, confidence)
    counted = faces[confidence >= np.float32(options.least_confidence)]
    findings = [_of_image(boxes) for _, boxes in counted.groupby("row", sort=True)]
    images = np.unique(counted["row"].to_numpy(np.int64))
    if len(images):
        findings.append(_of_dataset(images, len(counted), samples))
    return Result(scores, findings)


def _of_image(boxes: pd.DataFrame) -> Finding:
    row = int(boxes["row"].iloc[0])
    edges: npt.NDArray[np.float64] = boxes[["left", "top", "right", "bottom"]].to_numpy(float)
    tallest = float((edges[:, 3] - edges[:, 1]).max())
    many = "a face that is" if len(edges) == 1 else f"{len(edges)} faces, the largest of them"
    evidence = {
        "boxes": [[round(edge, 4) for edge in box] for box in edges[:_MOST_BOXES].tolist()],
        "confidences": [round(value, 2) for value in boxes["confidence"].tolist()[:_MOST_BOXES]],
        "faces": len(edges),
    }
    message = f"Shows {many} {tallest:.0%} of the image's height. Blur it or drop the image unless the person has consented."
    return Finding(kind="face", score=float(boxes["confidence"].max()), severity="info", message=message, row=row, evidence=evidence)


def _of_dataset(images: npt.NDArray[np.int64], faces: int, samples: pd.DataFrame) -> Finding:
    evidence = {"images": len(images), "faces": faces, **images_of_classes(samples, images)}
    share = len(images) / max(len(samples), 1)
    message = (
        f"{len(images):,} of {len(samples):,} images ({share:.1%}) show faces. Make sure you have consent or another legal basis to publish them."
    )
    return Finding(kind="faces", score=min(share, 1.0), severity="info", message=message, evidence=evidence)

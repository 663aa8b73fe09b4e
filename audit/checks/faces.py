"""Faces in the pictures, where and in which classes: people who may not have agreed, and classes that are half portraits.

A published face is personal data in most laws, and a class that comes with faces teaches a model the people, not the object. Only where a face is is
asked: nobody is recognised, and neither age nor sex nor origin is guessed.

Blind spots: faces seen from behind or the side, covered, turned by more than about 30 degrees, smaller than a thirtieth of the picture or larger than
it; drawings, statues and animals are sometimes taken for faces. Without faces found, people may still be seen.

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
    """From when on a box counts as a face."""

    least_confidence: float = 0.5
    """The detector's confidence, 0.2 to 1; 0.5 is its authors' default."""

    def __post_init__(self) -> None:
        if not 0.2 <= self.least_confidence <= 1:
            raise ConfigError("least_confidence", f"{self.least_confidence} is out of range", "use 0.2 to 1")


def run(samples: pd.DataFrame, faces: pd.DataFrame, *, options: Options) -> Result:
    """Report each image with faces, and the dataset once; an image's score is the confidence of its surest face."""
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
    many = "a face" if len(edges) == 1 else f"{len(edges)} faces, the largest"
    evidence = {
        "boxes": [[round(edge, 4) for edge in box] for box in edges[:_MOST_BOXES].tolist()],
        "confidences": [round(value, 2) for value in boxes["confidence"].tolist()[:_MOST_BOXES]],
        "faces": len(edges),
    }
    message = f"Shows {many} of {tallest:.0%} of the picture's height; blur it or leave the image out where the person has not agreed."
    return Finding(kind="face", score=float(boxes["confidence"].max()), severity="info", message=message, row=row, evidence=evidence)


def _of_dataset(images: npt.NDArray[np.int64], faces: int, samples: pd.DataFrame) -> Finding:
    evidence = {"images": len(images), "faces": faces, **images_of_classes(samples, images)}
    share = len(images) / max(len(samples), 1)
    message = (
        f"{len(images):,} of {len(samples):,} images ({share:.1%}) show faces; publishing them needs the people's consent or another ground in law."
    )
    return Finding(kind="faces", score=min(share, 1.0), severity="info", message=message, evidence=evidence)

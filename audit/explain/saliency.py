"""Occlusion saliency maps of the backbone (Zeiler & Fergus 2014, arXiv:1311.2901).

A window in the image's mean color moves over the image. If covering a region makes the embedding less similar to those of a class, the region is
evidence for the class. The maps describe this run's backbone: a model you train may look elsewhere. A region that matters only together with another
is not visible.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones import embedder_of
from audit.errors import RunError
from audit.io.blocks import some_of
from audit.run.identity import identities

if TYPE_CHECKING:
    import pandas as pd

    from audit.backbones import Embedder, Preprocessing
    from audit.run.run import Run

_CELLS = 13
"""Positions of the window along each side."""
_WINDOW = 1 / 4
"""Side of the window, as a share of the image's side."""
_EXAMPLES = 200
"""Randomly chosen images that represent a class, independent of the listing order."""
_BATCH = 16
"""Images embedded together."""
_SHOWN_SIDE = 320

CAVEAT = "This is the backbone's view; a model you train may look elsewhere"


@dataclass(frozen=True, slots=True)
class Saliency:
    """Saliency maps of one image."""

    image: npt.NDArray[np.uint8]
    """``[s, s, 3]``, the backbone's input."""
    maps: dict[str, npt.NDArray[np.float32]]
    """Class -> ``[13, 13]``: decrease of the cosine similarity to the class when the window covers this position; negative = increase."""


def classes_of(run: Run, row: int) -> list[str]:
    """Return the classes to map: the image's label and the most likely other class, by predictions or else neighbors, if other images have them."""
    samples = run.columns("label", "outcome")
    counts = samples.loc[samples["outcome"] == "ok", "label"].value_counts()
    given = samples["label"].iloc[row]
    found = [given] if isinstance(given, str) and counts.get(given, 0) > 1 else []
    try:
        likely = np.asarray(run.predictions[row], np.float32)
        others = [run.classes[code] for code in np.argsort(-likely, kind="stable").tolist()] if np.isfinite(likely).all() else []
    except RunError:
        near, _ = run.neighbors_of(row)
        others = [label for label in samples["label"].iloc[near[near >= 0]] if isinstance(label, str)]
    return [*found, *[label for label in others if label != given and counts.get(label, 0)][:1]]


def saliency(run: Run, row: int, labels: Sequence[str], *, model: tuple[Preprocessing, Embedder] | None = None) -> Saliency:
    """Compute the saliency maps of one image.

    Args:
        run: a finished run.
        row: row of the image.
        labels: classes to map; other images of the run must have them.
        model: the run's backbone, if already loaded.

    Raises:
        RunError: the image could not be decoded, or no other image has a label.
        BackboneError: the backbone's weights are not on this machine; nothing is downloaded.
    """
    from PIL import Image

    from audit.images.previews import preview

    data = preview(run, row)
    if data is None:
        name = run.columns("sample_id", rows=np.array([row]))["sample_id"].iloc[0]
        raise RunError(name, "this image could not be decoded", "choose another image")
    preprocessing, embedder = model or embedder_of(run.record)
    image = preprocessing.prepare(Image.open(io.BytesIO(data)).convert("RGB"))
    covered = _covered(image)
    parts = [embedder.embed(covered[start : start + _BATCH]) for start in range(0, len(covered), _BATCH)]
    found = np.concatenate(parts)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    samples = run.columns("label", "content_id", "outcome")
    maps = {}
    for label in labels:
        similarity = found @ _mean_of(run, samples, label, row)
        maps[label] = (similarity[0] - similarity[1:]).reshape(_CELLS, _CELLS).astype(np.float32)
    return Saliency(image, maps)


def drawn(found: Saliency) -> bytes:
    """Return a PNG: the image, then for each class the image with evidence for it in red and against it in blue."""
    from PIL import Image

    side = (_SHOWN_SIDE, _SHOWN_SIDE)
    plain = Image.fromarray(found.image).resize(side)
    strongest = max((float(np.abs(values).max()) for values in found.maps.values()), default=0.0)
    shown = [plain]
    for values in found.maps.values():
        strength = Image.fromarray(values / max(strongest, 1e-9)).resize(side, Image.Resampling.BICUBIC)
        share = np.clip(np.asarray(strength, np.float32), -1, 1)[..., None]
        gray = np.asarray(plain.convert("L").convert("RGB"), np.float32)
        color = np.where(share > 0, np.array([220, 30, 30], np.float32), np.array([30, 60, 220], np.float32))
        weight = 0.7 * np.abs(share)
        shown.append(Image.fromarray((gray * (1 - weight) + color * weight).astype(np.uint8)))
    sheet = Image.new("RGB", (_SHOWN_SIDE * len(shown), _SHOWN_SIDE))
    for column, image in enumerate(shown):
        sheet.paste(image, (column * _SHOWN_SIDE, 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _covered(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the image, then one copy per window position with the window covered."""
    side = len(image)
    window = round(side * _WINDOW)
    starts = np.linspace(0, side - window, _CELLS).round().astype(int)
    color = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    every = np.repeat(image[None], 1 + _CELLS * _CELLS, axis=0)
    for number, (top, left) in enumerate(((top, left) for top in starts for left in starts), 1):
        every[number, top : top + window, left : left + window] = color
    return every


def _mean_of(run: Run, samples: pd.DataFrame, label: str, row: int) -> npt.NDArray[np.float32]:
    """Return the unit-length mean embedding of a class, excluding the image itself and its byte-identical copies."""
    mine = (samples["label"] == label) & (samples["outcome"] == "ok") & (samples["content_id"] != samples["content_id"].iloc[row])
    rows = np.flatnonzero(mine.to_numpy(bool))
    if not len(rows):
        raise RunError(run.path, f"no other image has the label {label!r}", "choose a class of other images")
    some = np.asarray(run.embeddings[some_of(rows, _EXAMPLES, identities(samples))], np.float32)
    mean = some.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)

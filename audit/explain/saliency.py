"""Where on a picture the backbone found what it took for a class: occlusion maps (Zeiler & Fergus 2014, arXiv:1311.2901).

A window of the picture's mean color is moved over it. Where covering a part makes the embedding less like those of a class, that part argued for the
class. What is measured is the backbone and the images of this run: a model you train may look elsewhere, and a part that matters only together with
another shows nothing.
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
"""Places of the window along each side."""
_WINDOW = 1 / 4
"""Side of the window, as a share of the picture's."""
_EXAMPLES = 200
"""Images of a class that its mean embedding is taken of, drawn by lot; the same ones in whatever order they are listed."""
_AT_ONCE = 16
"""Pictures embedded together."""
_SHOWN_SIDE = 320

CAVEAT = "This is the backbone's view; a model you train may look elsewhere"


@dataclass(frozen=True, slots=True)
class Saliency:
    """What argued for some classes."""

    picture: npt.NDArray[np.uint8]
    """``[s, s, 3]``: what the backbone sees."""
    maps: dict[str, npt.NDArray[np.float32]]
    """Class -> ``[13, 13]``: how much less like the class, in cosine, the picture becomes where the window covers it; below 0, it becomes more so."""


def classes_of(run: Run, row: int) -> list[str]:
    """Return the classes worth a map, of those that other images have: the image's label and the likeliest other, by prediction or else neighbors."""
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
    """Return what argued for each of some classes in one image.

    Args:
        run: a finished run.
        row: of the image.
        labels: classes that other images of the run have.
        model: the run's backbone where it is at hand.

    Raises:
        RunError: the image could not be decoded.
        BackboneError: the backbone's weights are not on this machine; nothing is fetched.
    """
    from PIL import Image

    from audit.images.previews import preview

    data = preview(run, row)
    if data is None:
        raise RunError(
            run.columns("sample_id", rows=np.array([row]))["sample_id"].iloc[0], "this image could not be decoded", "choose one that could"
        )
    preprocessing, embedder = model or embedder_of(run.record)
    picture = preprocessing.prepare(Image.open(io.BytesIO(data)).convert("RGB"))
    covered = _covered(picture)
    parts = [embedder.embed(covered[start : start + _AT_ONCE]) for start in range(0, len(covered), _AT_ONCE)]
    found = np.concatenate(parts)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    samples = run.columns("label", "content_id", "outcome")
    maps = {}
    for label in labels:
        likeness = found @ _mean_of(run, samples, label, row)
        maps[label] = (likeness[0] - likeness[1:]).reshape(_CELLS, _CELLS).astype(np.float32)
    return Saliency(picture, maps)


def drawn(found: Saliency) -> bytes:
    """Return a PNG: the picture, then for each class the picture with what argued for it in red and against it in blue."""
    from PIL import Image

    side = (_SHOWN_SIDE, _SHOWN_SIDE)
    plain = Image.fromarray(found.picture).resize(side)
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
    for place, image in enumerate(shown):
        sheet.paste(image, (place * _SHOWN_SIDE, 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _covered(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the picture, then one for each place of the window."""
    side = len(picture)
    window = round(side * _WINDOW)
    starts = np.linspace(0, side - window, _CELLS).round().astype(int)
    color = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    every = np.repeat(picture[None], 1 + _CELLS * _CELLS, axis=0)
    for place, (top, left) in enumerate((top, left) for top in starts for left in starts):
        every[1 + place, top : top + window, left : left + window] = color
    return every


def _mean_of(run: Run, samples: pd.DataFrame, label: str, row: int) -> npt.NDArray[np.float32]:
    """Return the mean embedding of a class without one image and those of its bytes, of length 1."""
    mine = (samples["label"] == label) & (samples["outcome"] == "ok") & (samples["content_id"] != samples["content_id"].iloc[row])
    rows = np.flatnonzero(mine.to_numpy(bool))
    if not len(rows):
        raise RunError(run.path, f"no other image has the label {label!r}", "name a class that the run has")
    some = np.asarray(run.embeddings[some_of(rows, _EXAMPLES, identities(samples))], np.float32)
    mean = some.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)

"""Images of the run's rows as JPEG; no other file of the machine is ever shown."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.images.previews import previews
from audit.tables import PAIRS
from dashboard.api.overlay import overlay, place_of
from dashboard.api.similar import model_of
from reports.content.wording import label, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.run.run import Run
    from audit.sources import Source
    from dashboard.api.overlay import Place

LARGE_SIDE = 900
"""Longest side, in pixels, of a large image."""
_QUALITY = 88
_SHADES = "Black: equal. Brighter: larger difference (amplified three times)."


def small(run: Run, rows: Sequence[int]) -> list[bytes | None]:
    """Return previews of rows as JPEG; None for an image that cannot be shown."""
    return list(_small(run, tuple(int(row) for row in rows)))


def large(run: Run, row: int) -> bytes | None:
    """Return one image, at most `LARGE_SIDE` pixels, as JPEG without metadata; its preview if the dataset was moved or the file changed."""
    return _large(run, int(row)) or small(run, [row])[0]


def moved(run: Run) -> bool:
    """Return whether the dataset is missing at the location of the scan."""
    return _source(run) is None


def difference(run: Run, row: int, other: int) -> dict[str, Any]:
    """Return where two images differ, as a data URI with a caption; see `dashboard.api.overlay.overlay`."""
    try:
        pairs = run.pairs
    except AuditError:  # the images can be shown without pairs
        pairs = PAIRS.empty_table().to_pandas()
    first, second = large(run, row), large(run, other)
    if first is None or second is None:
        return {"image": None, "caption": "One of the images cannot be shown."}
    place = place_of(pairs, row, other)
    drawn, covered = overlay(first, second, place)
    uncovered = f"Striped blue: not covered by the second image ({percent(1 - covered)} of the first)." if covered < 1 else ""
    return {"image": _uri(drawn, "png"), "caption": " ".join(filter(None, (_laid(place), _SHADES, uncovered)))}


@lru_cache(maxsize=32)
def saliency(run: Run, row: int) -> dict[str, Any]:
    """Return an occlusion saliency map of the classes of an image, as a data URI with a caption. Takes the backbone a second or two.

    Raises:
        AuditError: the backbone's weights are not on this machine, or the image cannot be read.
    """
    from audit.explain.saliency import CAVEAT, classes_of, drawn
    from audit.explain.saliency import saliency as of_row

    classes = classes_of(run, row)
    image = _uri(drawn(of_row(run, row, classes, model=model_of(run))), "png")
    if not classes:
        return {"image": image, "caption": "Only the image is shown: it has no label or predicted class to explain."}
    words = run.record.get("class_words") or {}
    named = ", ".join(label(name, words) for name in classes)
    caption = f"The image, then a map for each class: {named}. Red parts support the class, blue parts contradict it: covering them lowers or raises "
    return {"image": image, "caption": f"{caption}the similarity to the class. {CAVEAT}."}


def _laid(place: Place) -> str:
    if place.is_whole:
        return "The second image is overlaid on the first, edge to edge."
    return f"The second image is overlaid on the first at the best alignment{', mirrored' if place.mirrored else ''}. Lines along edges may remain."


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@lru_cache(maxsize=2048)
def _small(run: Run, rows: tuple[int, ...]) -> tuple[bytes | None, ...]:
    return tuple(previews(run, rows, source=_source(run)))


@lru_cache(maxsize=64)
def _large(run: Run, row: int) -> bytes | None:
    from audit.images.decode import decode

    source = _source(run)
    sample = run.columns("content_id", "source_ref", "outcome", rows=np.array([row])).iloc[0]
    if source is None or sample["outcome"] != "ok":
        return None
    with suppress(Exception):  # storage libraries raise their own exceptions
        data = source.read(str(sample["source_ref"]))
        if hashlib.sha256(data).hexdigest() != sample["content_id"]:
            return None
        image = decode(data, max_pixels=sys.maxsize).image  # the scan decoded the same bytes under its own limit
        if image is not None:
            shown = image.convert("RGB")
            shown.thumbnail((LARGE_SIDE, LARGE_SIDE))
            shown.info.clear()
            stream = io.BytesIO()
            shown.save(stream, "JPEG", quality=_QUALITY)
            return stream.getvalue()
    return None


@lru_cache(maxsize=4)
def _source(run: Run) -> Source | None:
    with suppress(Exception):  # if the dataset was moved, previews stored with the run are shown
        return run.source()
    return None

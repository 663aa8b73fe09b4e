"""Images of the run's rows; no other file of the machine is ever shown."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import streamlit as st

from audit.images.boxes import outlined
from audit.images.previews import previews
from dashboard.components.text import literal, short
from dashboard.state import page_at, stamp

if TYPE_CHECKING:
    from audit.images.boxes import Box
    from audit.run.run import Run
    from audit.sources import Source

LARGE_SIDE = 900
"""Longest side, in pixels, of a large image."""
CELL = 148
"""Width, in pixels, of an image in a gallery: six fit side by side on a page, two on a phone."""
_NAME = 15
"""Characters of a name that fit below it."""
_QUALITY = 88


def small(run: Run, rows: Sequence[int]) -> list[bytes | None]:
    """Return previews of rows as JPEG; None for an image that cannot be shown."""
    return cast("list[bytes | None]", _small(str(run.path), stamp(run), tuple(int(row) for row in rows), run))


def large(run: Run, row: int) -> bytes | None:
    """Return one image, at most `LARGE_SIDE` pixels, as JPEG without metadata; its preview if the dataset was moved or the file changed."""
    return cast("bytes | None", _large(str(run.path), stamp(run), int(row), run)) or small(run, [row])[0]


def gallery(run: Run, rows: Sequence[int], captions: Sequence[str], *, boxes: Sequence[Box] = ()) -> None:
    """Draw small images side by side; each name links to the image on the search page.

    Args:
        run: a finished run.
        rows: rows of the images.
        captions: Markdown, one per image.
        boxes: drawn on each image.
    """
    names = run.columns("sample_id", rows=np.array(rows, np.int64))["sample_id"]
    search = page_at("/search")
    with st.container(horizontal=True, gap="small"):
        for data, name, caption in zip(small(run, rows), names, captions, strict=True):
            with st.container(width=CELL, gap="xsmall"):
                show(st, data and outlined(data, boxes), alt=short(name))
                if search is not None:
                    st.page_link(search, label=literal(short(name.rpartition("/")[2], _NAME)), help=literal(name), query_params={"image": name})
                st.caption(caption if search is not None else f"{literal(name)}  \n{caption}")


def moved(run: Run) -> bool:
    """Return whether the dataset is missing at the location of the scan."""
    return _source(str(run.path), stamp(run), run) is None


def show(container: Any, data: bytes | None, *, alt: str, width: Any = "stretch") -> None:
    """Draw an image, or a note that it cannot be shown."""
    if data is None:
        container.caption(":material/broken_image: No image", help="The file cannot be decoded, or the dataset was moved since the scan.")
    else:
        container.image(data, width=width, alt=alt)


@st.cache_data(max_entries=512, show_spinner=False)
def _small(path: str, changed: int, rows: tuple[int, ...], _run: Run) -> list[bytes | None]:
    del path, changed
    return previews(_run, rows, source=_source(str(_run.path), stamp(_run), _run))


@st.cache_data(max_entries=64, show_spinner=False)
def _large(path: str, changed: int, row: int, _run: Run) -> bytes | None:
    from audit.images.decode import decode

    source = _source(path, changed, _run)
    sample = _run.columns("content_id", "source_ref", "outcome", rows=np.array([row])).iloc[0]
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


@st.cache_resource(max_entries=4, show_spinner=False)
def _source(path: str, changed: int, _run: Run) -> Source | None:
    del path, changed
    with suppress(Exception):  # if the dataset was moved, previews stored with the run are shown
        return _run.source()
    return None

"""Images of the run's rows; no other file of the machine is ever shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from audit.images.boxes import outlined
from dashboard.api.pictures import small
from dashboard.components.text import literal, short
from dashboard.state import page_at

if TYPE_CHECKING:
    from audit.images.boxes import Box
    from audit.run.run import Run

CELL = 148
"""Width, in pixels, of an image in a gallery: six fit side by side on a page, two on a phone."""
_NAME = 15
"""Characters of a name that fit below it."""


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


def show(container: Any, data: bytes | None, *, alt: str, width: Any = "stretch") -> None:
    """Draw an image, or a note that it cannot be shown."""
    if data is None:
        container.caption(":material/broken_image: No image", help="The file cannot be decoded, or the dataset was moved since the scan.")
    else:
        container.image(data, width=width, alt=alt)

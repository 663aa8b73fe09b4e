"""The app that ``imagenet-audit dashboard`` serves: its pages, and an error page if the run cannot be opened."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.errors import AuditError
from audit.sources.storage.files import network_forbidden
from dashboard.api.families import checks_of
from dashboard.api.pictures import moved
from dashboard.components.text import literal, short
from dashboard.state import PAGES, open_finished, reviewer_input
from dashboard.views import bias, compare, confusion, decisions, duplicates, images, label_errors, overview, quality, search
from dashboard.views import map as map_view
from reports.content.wording import when

if TYPE_CHECKING:
    from audit.checks.base import Family
    from audit.run.run import Run

_STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem }
@media (max-width: 640px) { .st-key-cards > div, .st-key-cards > div > div { flex: 1 1 100% !important; width: 100% !important } }
</style>"""
"""Less of the empty space that Streamlit leaves above a page; on a phone a card has the width of the screen."""
_SIDEBAR = 230
"""Width of the sidebar in pixels."""
_REPORT_IT = "reload the page; if it happens again, please report this bug with the traceback in the terminal"


def main(path: str, source: str | None = None) -> None:
    """Draw the requested page of a run; ``source`` is where its dataset is, if the user named it."""
    st.set_page_config(page_title="imagenet-audit", page_icon=_icon(), layout="wide", initial_sidebar_state=_SIDEBAR)
    try:
        run = open_finished(path, source)
    except AuditError as error:
        _problem(error)
        return
    st.html(_STYLE)
    pages, links = _pages(run)
    chosen = st.navigation(pages)
    st.set_page_config(page_title=f"{chosen.title} · {run.path.name}")
    st.session_state[PAGES] = links
    with st.sidebar:
        reviewer_input()
        finished = f"  \nScanned {when(run.record['finished_at'])}" if "finished_at" in run.record else ""
        st.caption(f"Run: {literal(short(run.path.name, 40))}{finished}", help=literal(run.path.absolute()))
    try:
        chosen.run()
    except AuditError as error:
        _problem(error)
    except Exception as error:
        logging.getLogger(__name__).exception("the page %s could not be drawn", chosen.title)
        _problem(AuditError(chosen.title, f"internal error: {type(error).__name__}: {error}", _REPORT_IT))
    _note_if_moved(run)


def _note_if_moved(run: Run) -> None:
    """Note in the sidebar that previews are shown instead of the images."""
    if moved(run):
        st.sidebar.caption(
            ":material/folder_off: The dataset was moved since the scan, or was scanned on another machine. Small previews stored with the run are "
            "shown instead of its images; pass the dataset with `--source`.",
            help=literal(run.record["source"].get("absolute") or run.record["source"]["location"]),
        )


def _pages(run: Run) -> tuple[list[Any], dict[str, Any]]:
    """Return the pages of a run, and the links for `dashboard.state.page_at`. A page of findings appears only if one of its checks ran."""
    done = [name for name, check in run.record.get("checks", {}).items() if check["state"] == "done"]
    reviewed: tuple[tuple[Callable[[Run], None], str, Family, str], ...] = (
        (label_errors.show, "Label errors", "labels", "sell"),
        (confusion.show, "Class confusion", "confusion", "grid_on"),
        (duplicates.show, "Duplicates & leakage", "duplicates", "content_copy"),
        (quality.show, "Quality & integrity", "quality", "broken_image"),
        (bias.show, "Bias & privacy", "bias", "groups"),
    )
    pages = [_page(run, overview.show, "Overview", "overview", "dashboard", default=True)]
    links: dict[str, Any] = {}
    for view, name, address, icon in reviewed:
        checks = checks_of(run, address)
        if any(check in done for check in checks):
            pages.append(_page(run, view, name, address, icon))
            links |= dict.fromkeys([*checks, f"/{address}"], pages[-1])
    pages.append(_page(run, images.show, "Images", "images", "photo_library"))
    links["/images"] = pages[-1]
    pages.append(_page(run, map_view.show, "Map", "map", "scatter_plot"))
    pages.append(_page(run, decisions.show, "Decisions & export", "decisions", "rule"))
    pages.append(_page(run, search.show, "Search", "search", "search"))
    links["/search"] = pages[-1]
    pages.append(_page(run, compare.show, "Compare", "compare", "compare"))
    return pages, links


def _page(run: Run, view: Callable[[Run], None], name: str, address: str, icon: str, *, default: bool = False) -> Any:
    return st.Page(partial(view, run), title=name, url_path=address, icon=f":material/{icon}:", default=default)


@st.cache_data(show_spinner=False)
def _icon() -> bytes:
    """Return the icon of the browser tab as PNG: Streamlit would load a named icon from another server."""
    import io

    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((2, 2, 62, 62), 14, fill=(38, 99, 235, 255))
    draw.line([(17, 33), (28, 45), (48, 20)], fill="white", width=8, joint="curve")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _problem(error: AuditError) -> None:
    st.title("Cannot show this page")
    st.error(literal(f"{error.where}: {error.problem}"), icon=":material/error:")
    st.markdown(f"**What to do:** {literal(error.hint)}")


if __name__ == "__main__":
    served = json.loads(sys.argv[1])
    with network_forbidden(forbidden=served["offline"]):
        main(served["run"], served["source"])

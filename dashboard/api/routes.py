"""Addresses that the review panel asks: ``/audit/...``. The guard refuses every request that does not come from the dashboard's own pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from audit.errors import AuditError
from dashboard.api import content, pictures, queues
from dashboard.api.decide import Order, decide, undo
from dashboard.api.desk import desk_of
from dashboard.api.map import map_of
from dashboard.api.verdicts import verdict_name
from reports.content.wording import check_title, label, title

if TYPE_CHECKING:
    from starlette.requests import Request

    from audit.run.run import Run
    from dashboard.api.desk import Desk

AT_ONCE = 96
"""Cards described by one answer."""
_LONGEST_NOTE = 500
_KEPT = {"Cache-Control": "private, max-age=3600"}
"""Images of a run do not change; the address contains the time of its scan."""

Ask = Callable[["Desk", "QueryParams"], Any]


def routes(run: Callable[[], Run], within: Callable[[], AbstractContextManager[Any]] = nullcontext) -> list[Route | Mount]:
    """Return the routes of the review panel.

    Args:
        run: returns the run that is served; a run that was scanned again is another one.
        within: the context of every answer, such as one that forbids the network.
    """

    def answering(ask: Ask) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(_answered, within, lambda: ask(desk_of(run()), request.query_params))

        return answer

    def acting(act: Callable[[Desk, Mapping[str, Any]], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            given = await request.body()
            return await run_in_threadpool(_answered, within, lambda: act(desk_of(run()), _object(given)))

        return answer

    asks: tuple[tuple[str, Ask], ...] = (
        ("options", _options),
        ("queue", _queue),
        ("map", lambda desk, _: map_of(desk)),
        ("cards", lambda desk, given: content.cards(desk, _ids(given))),
        ("tiles", lambda desk, given: content.tiles(desk, _ids(given))),
        ("image", lambda desk, given: _picture(pictures.large(desk.run, _row(desk, given, "row")))),
        ("preview", lambda desk, given: _picture(pictures.small(desk.run, [_row(desk, given, "row")])[0])),
        ("difference", lambda desk, given: pictures.difference(desk.run, _row(desk, given, "row"), _row(desk, given, "other"))),
        ("saliency", lambda desk, given: pictures.saliency(desk.run, _row(desk, given, "row"))),
    )
    return [
        *(Route(f"/audit/{name}", answering(ask)) for name, ask in asks),
        Route("/audit/selection", acting(_selection), methods=["POST"]),
        Route("/audit/decide", acting(_decide), methods=["POST"]),
        Route("/audit/undo", acting(_undo), methods=["POST"]),
        Mount("/audit/panel", _Files(directory=Path(__file__).parents[1] / "panel")),
    ]


class _Files(StaticFiles):
    """Files that the browser asks for again after an update; unchanged ones are not sent."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        """Return a file."""
        answer = super().file_response(*args, **more)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _answered(within: Callable[[], AbstractContextManager[Any]], ask: Callable[[], Any]) -> Response:
    try:
        with within():
            found = ask()
    except AuditError as error:
        return JSONResponse({"problem": f"{error.where}: {error.problem}", "hint": error.hint}, HTTPStatus.BAD_REQUEST)
    return found if isinstance(found, Response) else JSONResponse(found)


def _options(desk: Desk, given: QueryParams) -> dict[str, Any]:
    """Return each filter with its options: value and text."""
    words = desk.run.record.get("class_words") or {}
    names: dict[str, Callable[[str], str]] = {"checks": check_title, "kinds": title, "severities": title, "splits": str}

    def of_class(name: str) -> str:
        return label(name, words)

    page = given.get("page", "")
    found = queues.options(desk, page)
    written = {part: [[value, names.get(part, of_class)(value)] for value in values] for part, values in found.items()}
    known = list(desk.run.classes) or found.get("labels", [])
    written["verdicts"] = [[verdict, verdict_name(verdict)] for verdict in ("keep", "accept", "relabel", "drop", "unsure", "disputed")]
    return {"filters": written, "classes": [[name, label(name, words)] for name in known]}


def _selection(desk: Desk, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue of selected images: thousands of rows are too long for an address."""
    query, rows = given.get("query"), given.get("rows")
    if not isinstance(query, list) or not isinstance(rows, list):
        raise AuditError("selection", "names no rows", "reload the page")
    known = tuple(row for row in rows if isinstance(row, int) and 0 <= row < len(desk.run))
    return _queue(desk, QueryParams([(str(name), str(value)) for name, value in query]), known)


def _queue(desk: Desk, given: QueryParams, rows: tuple[int, ...] = ()) -> dict[str, Any]:
    near = given.get("near", "")
    wanted = queues.Wanted(
        page=given.get("page", ""),
        filters={part: tuple(given.getlist(part)) for part in queues.FILTERS if given.getlist(part)},
        state=given.get("state") or queues.ALL,
        verdicts=tuple(given.getlist("verdicts")),
        sort=given.get("sort") or queues.SORTS[0],
        seed=_whole(given.get("seed", "")),
        text=given.get("text", ""),
        near=int(near) if near.isdecimal() else None,
        rows=rows,
    )
    found = queues.queue(desk, wanted, holding=given.get("finding") or None)
    return {"ids": found.ids, "verdicts": found.verdicts, "left_out": found.left_out}


def _decide(desk: Desk, given: Mapping[str, Any]) -> dict[str, Any]:
    cards, which, new = given.get("cards"), given.get("which"), given.get("label")
    if not isinstance(cards, list) or not cards or not all(isinstance(name, str) for name in cards):
        raise AuditError("decide", "names no card", "reload the page")
    order = Order(
        cards=tuple(cards),
        verdict=str(given.get("verdict")),
        reviewer=str(given.get("reviewer") or "reviewer"),
        label=str(new) if new else None,
        which=which if which in (0, 1) else None,
        note=str(given.get("note") or "")[:_LONGEST_NOTE],
    )
    verdicts, skipped = decide(desk, order)
    return {"verdicts": verdicts, "skipped": skipped}


def _undo(desk: Desk, given: Mapping[str, Any]) -> dict[str, Any]:
    card, number = undo(desk, str(given.get("reviewer") or "reviewer"))
    return {"card": card, "undone": number}


def _ids(given: QueryParams) -> list[str]:
    return [name for name in given.get("ids", "").split(",") if name][:AT_ONCE]


def _row(desk: Desk, given: QueryParams, name: str) -> int:
    text = given.get(name, "")
    if not text.isdecimal() or int(text) >= len(desk.run):
        raise AuditError(name, f"the run has no image {text!r}", "reload the page")
    return int(text)


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _picture(data: bytes | None) -> Response:
    if data is None:
        return PlainTextResponse("no image\n", HTTPStatus.NOT_FOUND)
    return Response(data, media_type="image/jpeg", headers=_KEPT)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(data)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise AuditError("request", "is not a JSON object", "reload the page")
    return given

"""Refuse requests that do not come from the person who started the dashboard: other users of the machine, and pages of other sites in the browser."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.websockets import WebSocketClose

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_PARAMETER = "token"
_FOREIGN_SITES = ("cross-site", "same-site")
"""Values of Sec-Fetch-Site (W3C, Fetch Metadata) of requests from other pages; another port of this machine is the same site."""

_HEADERS = {"Content-Security-Policy": "frame-ancestors 'self'", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin"}
_NO_TOKEN = "The dashboard needs its token: open the address that the command printed."  # noqa: S105 - a message


class Guard:
    """ASGI middleware: answer only requests with an allowed host, from the dashboard's own pages, with the token.

    The token is in the address that the command prints. The first request exchanges it for a cookie and removes it from the address. The host is
    compared because a page of another site can resolve its own name to this machine (DNS rebinding).

    Args:
        app: the application.
        token: shared by the command and the browser.
        hosts: additional allowed hosts, such as the public name of a reverse proxy.
        port: part of the cookie's name, because browsers send the cookies of a host to all of its ports.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str], port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"imagenet-audit-{port}"
        self._named = {host.lower().rstrip(".") for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer = self._refusal(connection) or self._enter(connection)
        if answer is not None:
            await (answer if scope["type"] == "http" else WebSocketClose())(scope, receive, send)
            return
        # Streamlit compares the origin again, and for a proxy that changes the host it would look up this machine's address on the internet.
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"origin"]}
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        headers = connection.headers
        given = headers.getlist("host")
        if len(given) != 1 or _hostname(given[0]) not in LOCAL_HOSTS | self._named:
            hint = "open it as localhost, or pass its name with --host"
            return _refused(f"The dashboard does not answer to the host {', '.join(given)!r}: {hint}.", HTTPStatus.MISDIRECTED_REQUEST)
        for origin in headers.getlist("origin"):
            address = urlsplit(origin).netloc
            if address.lower() != given[0].lower() and _hostname(address) not in self._named:
                return _refused(f"The dashboard does not answer to pages of {origin!r}.")
        if headers.get("sec-fetch-site") in _FOREIGN_SITES and headers.get("sec-fetch-mode") != "navigate":
            return _refused("The dashboard does not answer to pages of other sites.")
        return None

    def _enter(self, connection: HTTPConnection) -> Response | None:
        """Exchange the token in the address for a cookie; refuse a request with neither."""
        given = connection.query_params.get(_PARAMETER)
        if given is None:
            return None if self._matches(connection.cookies.get(self._cookie, "")) else _refused(_NO_TOKEN)
        if not self._matches(given):
            return _refused(f"{_NO_TOKEN} The one in this address is of another start.")
        rest = urlencode([pair for pair in parse_qsl(connection.url.query, keep_blank_values=True) if pair[0] != _PARAMETER])
        answer = RedirectResponse(f"?{rest}", HTTPStatus.SEE_OTHER, headers=_HEADERS)
        # Not strict: a strict cookie is not sent after a click on a link in another page, such as a colleague's message.
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", secure=connection.url.scheme in ("https", "wss"))
        return answer

    def _matches(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self._token.encode())


def _hostname(address: str) -> str:
    try:
        return (urlsplit(f"//{address}").hostname or "").rstrip(".")
    except ValueError:  # unbalanced brackets
        return ""


def _refused(problem: str, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> Response:
    return PlainTextResponse(f"{problem}\n", status, headers=_HEADERS)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending

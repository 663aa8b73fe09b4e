"""Requests of other users of the machine and of other sites in the browser, sent by a real client to the real server."""

import http.client
import os
import subprocess
import webbrowser
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard.command import TOKEN, _open_when_ready


@pytest.fixture(scope="module")
def address(demo_run, served):
    with served(demo_run, options=["--host", "audit.example.org"]) as address:
        yield address


def ask(address, path, **headers):
    """Return status, headers and body; ``host`` replaces the true host."""
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)) as client:
        client.putrequest("GET", path, skip_host=True)
        client.putheader("Host", headers.pop("host", parts.netloc))
        for name, value in headers.items():
            client.putheader(name.replace("_", "-"), value)
        client.endheaders()
        answer = client.getresponse()
        return answer.status, dict(answer.getheaders()), b"" if answer.status == 101 else answer.read()


def cookie(address):
    _, headers, _ = ask(address, "/?" + urlsplit(address).query)
    return headers["set-cookie"].partition(";")[0]


def socket(address, **headers):
    """Return the status of a WebSocket handshake (RFC 6455); 101 opens it."""
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    return ask(address, "/_stcore/stream", **handshake, **headers)[0]


def test_token_becomes_a_cookie(address):
    status, headers, _ = ask(address, f"/labels?finding=a%20b&{urlsplit(address).query}")
    assert (status, headers["location"]) == (303, "?finding=a+b")
    assert {"HttpOnly", "SameSite=lax"} <= {part.strip() for part in headers["set-cookie"].split(";")}
    status, headers, page = ask(address, "/", Cookie=cookie(address))
    assert status == 200
    assert b"<title>" in page
    assert headers["content-security-policy"] == "frame-ancestors 'self'"


@pytest.mark.parametrize("path", ["/", "/media/0.jpg", "/_stcore/health", "/?token=wrong", "/?token="])
def test_refuses_other_users_of_the_machine(address, path):
    status, _, body = ask(address, path)
    assert status == 403
    assert b"open the address that the command printed" in body
    assert socket(address) == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""]
)
def test_refuses_forged_hosts(address, host):
    """DNS rebinding: the browser sends requests of a foreign page to this machine, with the foreign name; host and origin agree."""
    forged = host.format(port=urlsplit(address).port)
    for path in ("/", "/media/0.jpg", "/?" + urlsplit(address).query):
        assert ask(address, path, host=forged, Cookie=cookie(address))[0] == 421
    assert socket(address, host=forged, Origin=f"http://{forged}", Cookie=cookie(address)) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9", "http://localhost", "null", "file://"])
def test_refuses_pages_of_other_origins(address, origin):
    """The browser sends the cookie also for pages of other ports of this machine."""
    assert socket(address, Origin=origin, Cookie=cookie(address)) == 403
    assert ask(address, "/media/0.jpg", Origin=origin, Cookie=cookie(address))[0] == 403
    assert ask(address, "/media/0.jpg", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors", Cookie=cookie(address))[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:9000", "[::1]:{port}", "audit.example.org"])
def test_answers_to_its_own_names(address, host):
    """Behind ``ssh -L`` the port may differ; a reverse proxy may keep the public host."""
    named = host.format(port=urlsplit(address).port)
    assert ask(address, "/", host=named, Cookie=cookie(address))[0] == 200
    assert socket(address, host=named, Origin=f"http://{named}", Cookie=cookie(address)) == 101


def test_answers_to_a_proxy_that_changes_the_host(address):
    assert socket(address, Origin="https://audit.example.org", Cookie=cookie(address)) == 101


def test_token_is_on_no_command_line(address):
    (token,) = parse_qs(urlsplit(address).query)["token"]
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("/proc does not exist")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert any(b"dashboard.server" in line for line in lines)
    assert not any(token.encode() in line for line in lines)


def test_opens_the_browser_without_the_token(address, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with subprocess.Popen(["sleep", "20"]) as process:
        _open_when_ready(address, tmp_path, urlsplit(address).port, process)
        process.kill()
    assert opened == [(tmp_path / "dashboard.html").as_uri()]
    assert address in (tmp_path / "dashboard.html").read_text()
    assert TOKEN == "IMAGENET_AUDIT_TOKEN"


def test_review_needs_the_token(address):
    for path in ("/audit/queue?page=labels", "/audit/preview?row=0", "/audit/panel/panel.js"):
        assert ask(address, path)[0] == 403
        assert ask(address, path, Cookie=cookie(address), Sec_Fetch_Site="cross-site")[0] == 403
        assert ask(address, path, Cookie=cookie(address))[0] == 200
    for path in ("/audit/preview?row=-1", "/audit/preview?row=99999", "/audit/image?row=a", "/audit/queue?page=labels&state=x"):
        assert ask(address, path, Cookie=cookie(address))[0] == 400
    assert ask(address, "/audit/panel/..%2fserver.py", Cookie=cookie(address))[0] in (400, 404)

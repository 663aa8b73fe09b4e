"""End-to-end tests of the dashboard: the command, its server, and Chromium."""

import contextlib
import functools
import http.server
import signal
import socket
import threading
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audit import demo, scan
from audit.config import ScanOptions
from dashboard.command import SETTINGS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    # Selenium does not close its connection to the driver.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

LABELS_DOWN = """return [...document.querySelectorAll('.st-key-wide_map .role-axis-label')].at(-1).querySelectorAll('text').values()
    .map(text => text.getBoundingClientRect()).map(box => box.y + box.height / 2).toArray()"""
"""Vertical middle of each row label of the heat map."""


def test_every_page_is_drawn_without_a_request_to_another_server(own_run, watch, served, browsed):
    from selenium.webdriver.common.by import By

    with served(own_run, environment=watch.environment) as address, browsed(address) as browser:
        browser.open()
        browser.sees("Look at these first")
        for page in browser.pages:
            browser.go(page)
            assert not browser.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")
        browser.go("Class confusion")
        middles = browser.driver.execute_script(LABELS_DOWN)
        assert {round(below - above) for above, below in pairwise(middles)} == {40}, "each label is beside its row"
        cell = browser.driver.find_elements(By.CSS_SELECTOR, ".st-key-wide_map path[aria-label^='Predicted class']")[-1]
        tooltip = dict(part.split(": ") for part in cell.get_attribute("aria-label").split("; "))
        cell.click()
        browser.sees(f"{tooltip['Given label']} predicted as {tooltip['Predicted class']}")
        browser.settles()
        assert browser.problems() == []
        assert browser.foreign_requests() == []
    assert watch.attempts() == []


def test_shows_markup_in_names_literally(tmp_path, served, browsed):
    """File and class names may contain HTML, Markdown with an external image, or a link."""
    from selenium.webdriver.common.by import By

    images = tmp_path / "images"
    demo.make(images)
    hostile = "![x](http:evil.test) <img src=x onerror=document.title='owned'> :smile: $x$"
    for split in ("train", "val"):
        (images / split / "cat").rename(images / split / hostile)
    run = scan(images, tmp_path / "run", options=ScanOptions(backbone="embedded", device="cpu")).path
    with served(run) as address, browsed(address) as browser:
        browser.open()
        browser.sees("Look at these first")
        browser.sees("<img src=x")
        for page in browser.pages:
            browser.go(page)
            injected = browser.driver.find_elements(By.CSS_SELECTOR, "img[src*='evil'], img[src='x'], .katex")
            assert [(page, element.get_attribute("outerHTML")) for element in injected] == []
            assert browser.driver.execute_script("return [...document.links].filter((link) => link.host !== location.host).length") == 0
        assert browser.driver.title != "owned"
        assert browser.problems() == []
        assert browser.foreign_requests() == []


def test_listens_on_this_machine_only(own_run, served):
    assert SETTINGS["server.address"] == "127.0.0.1"
    with served(own_run) as address:
        port = urlsplit(address).port
        table = Path("/proc/net/tcp")
        if not table.exists():
            pytest.skip("/proc/net/tcp does not exist")
        entries = [line.split() for line in table.read_text().splitlines()[1:]]
        listening = [entry[1] for entry in entries if entry[3] == "0A" and entry[1].endswith(f":{port:04X}")]
        assert listening == [f"0100007F:{port:04X}"]


def test_server_stops_with_the_command(demo_run, served):
    with served(demo_run, signal.SIGTERM) as address:
        port = urlsplit(address).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


CONNECT = """const [address, done] = arguments, stream = new WebSocket(address);
stream.onopen = () => done('open'); stream.onerror = () => done('refused')"""
LOAD = """const [address, done] = arguments, image = new Image();
image.onload = () => done('seen'); image.onerror = () => done('refused'); image.src = address"""


def test_foreign_pages_see_nothing(own_run, served, tmp_path, browsed):
    """A page whose name was rebound to this machine, and a page of another port of it, in a browser that holds the cookie."""
    with served(own_run) as address, browsed(address, "--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        browser.open()
        browser.sees("Look at these first")
        shown = "return [...document.images].find(image => image.src.includes('/media/')).src"
        image = browser.until(lambda: browser.driver.execute_script(shown), "images")
        browser.driver.get(address.replace("127.0.0.1", "evil.example"))
        assert "does not answer to the host" in browser.text()
        with foreign_server(tmp_path) as other:
            browser.driver.get(f"http://127.0.0.1:{other}/")
            assert browser.driver.execute_async_script(CONNECT, f"ws://127.0.0.1:{urlsplit(address).port}/_stcore/stream") == "refused"
            assert browser.driver.execute_async_script(LOAD, image) == "refused"
        browser.driver.get(address.partition("?")[0])  # the cookie is enough
        browser.sees("Look at these first")


@contextlib.contextmanager
def foreign_server(folder):
    (folder / "web").mkdir()
    (folder / "web" / "index.html").write_text("<!DOCTYPE html><title>other</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "web")
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()

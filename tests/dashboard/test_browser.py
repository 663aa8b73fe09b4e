"""End-to-end tests of the dashboard: the command, its server, and Chromium."""

import contextlib
import functools
import http.server
import json
import shutil
import signal
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audit import demo, scan
from audit.config import ScanOptions
from audit.review.decisions import Decisions
from dashboard.command import SETTINGS

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed: apt-get install chromium chromium-driver"),
    pytest.mark.xdist_group("browser"),
    # Selenium does not close its connection to the driver.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PAGES = {
    "Label errors": "Label errors",
    "Class confusion": "Confused pairs",
    "Duplicates & leakage": "Duplicate sets",
    "Quality & integrity": "Quality & integrity",
    "Bias & privacy": "Bias & privacy",
    "Decisions & export": "Corrected labels",
    "Search": "Part of a file name",
    "Compare": "Compare this run with",
    "Overview": "Look at these first",
}
PATIENCE = 30.0
PENDING_IMAGES = "return [...document.images].filter(image => !(image.complete && image.naturalWidth)).map(image => image.src)"
QUIET = 0.3
"""Seconds without work after which a page counts as settled: a page is briefly idle between two reruns."""

LABELS_DOWN = """return [...document.querySelectorAll('.st-key-wide_map .role-axis-label')].at(-1).querySelectorAll('text').values()
    .map(text => text.getBoundingClientRect()).map(box => box.y + box.height / 2).toArray()"""
"""Vertical middle of each row label of the heat map."""

WHEN_DRAWING = """(act) => {
    const app = document.querySelector('[data-testid=stApp]');
    const seen = new MutationObserver(() => {
        if (app.dataset.testScriptState !== 'running') return;
        seen.disconnect();
        window.calls = (window.calls || 0) + 1;
        act();
    });
    seen.observe(app, {attributes: true, attributeFilter: ['data-test-script-state']});
}"""
"""Call a function when the page is drawn next. A timer may miss a short drawing and call it in a later one."""


class Browser:
    """Chromium on one address, with its log and its requests."""

    def __init__(self, address, *flags):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--window-size=1440,1400",
            *flags,
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.address = address

    def open(self, path=""):
        self.driver.get(self.address.replace("/?", f"/{path}?"))

    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def until(self, happened, what):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):  # the page may be redrawn during the query
                if found := happened():
                    return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen; the page shows:\n{self.text()[:2000]}")

    def sees(self, text):
        self.until(lambda: text in self.text(), f"{text!r} to be seen")

    def go(self, page):
        from selenium.webdriver.common.by import By

        links = self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stSidebarNavLink]")
        next(link for link in links if link.text.endswith(page)).click()
        self.sees(PAGES[page])
        self.until(lambda: page in self.driver.find_element(By.TAG_NAME, "h1").text, f"the page {page}")
        self.settles()

    def settles(self):
        """Wait until the script is idle and every image is loaded: the server drops the images of a page that was left."""
        script = """return !document.querySelector('[data-testid=stApp][data-test-script-state=running], [data-testid=stStatusWidget]')
            && [...document.images].every((image) => image.complete)"""
        since = time.monotonic()

        def still():
            nonlocal since
            if not self.driver.execute_script(script):
                since = time.monotonic()
            return time.monotonic() - since > QUIET

        self.until(still, "the page to settle")

    def press(self, key):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(key).perform()

    def choose(self, segment):
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.XPATH, f"//*[@role='radio' and normalize-space(.)='{segment}']").click()

    def key_listeners(self):
        window = self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": "window"})["result"]["objectId"]
        listeners = self.driver.execute_cdp_cmd("DOMDebugger.getEventListeners", {"objectId": window})["listeners"]
        return sum(listener["type"] == "keydown" and listener["useCapture"] for listener in listeners)

    def problems(self):
        """Return the errors of the console, after all images are loaded.

        Ignore two kinds of 404: Streamlit searches the root of its server when the address of a page is opened, and an image that is
        replaced before it is loaded is dropped by the server.
        """
        self.until(lambda: not self.driver.execute_script(PENDING_IMAGES), "every image")
        lines = [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "ERROR")]
        return [line for line in lines if not ("404" in line and ("/_stcore/" in line or "/media/" in line))]

    def foreign_requests(self):
        events = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        requested = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        assert requested
        return [url for url in requested if not url.startswith((self.address.partition("?")[0], "data:", "blob:", "chrome:"))]


@contextlib.contextmanager
def browsed(address, *flags):
    browser = Browser(address, *flags)
    try:
        yield browser
    finally:
        browser.driver.quit()


def current_decisions(run):
    return Decisions(run).current()


def test_pages_keyboard_and_reload(own_run, watch, served):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with served(own_run, environment=watch.environment) as address, browsed(address) as browser:
        browser.open()
        browser.sees("Look at these first")
        for page in PAGES:
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
        browser.go("Label errors")
        browser.sees("Finding 1 of")
        for number, (key, verdict) in enumerate((("k", "keep"), ("d", "drop"), ("u", "unsure"), ("r", "relabel")), start=1):
            browser.press(key)
            browser.until(lambda number=number: len(current_decisions(own_run)) == number, f"decision {number}")
            assert current_decisions(own_run)["verdict"].iloc[-1] == verdict
            browser.sees(f"{number} decided")
            browser.settles()
        browser.press("z")
        browser.until(lambda: len(current_decisions(own_run)) == 3, "undo")
        browser.sees("Finding 4 of")
        browser.settles()
        browser.press(Keys.ARROW_LEFT)
        browser.sees("Finding 3 of")
        browser.press(Keys.ARROW_RIGHT)
        browser.sees("Finding 4 of")
        browser.settles()
        note = browser.driver.find_element(By.CSS_SELECTOR, "input[aria-label='Note']")
        note.click()
        browser.press("d")  # typed, not decided
        time.sleep(1)
        assert len(current_decisions(own_run)) == 3
        browser.driver.refresh()
        browser.sees("3 decided")
        browser.sees("Finding 4 of")
        browser.settles()
        assert current_decisions(own_run)["verdict"].tolist() == ["keep", "drop", "unsure"]
        assert browser.problems() == []
        assert browser.foreign_requests() == []
    assert watch.attempts() == []


def test_keys_decide_only_about_the_visible_finding(own_run, served):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with served(own_run) as address, browsed(address) as browser:
        browser.open("labels")
        browser.sees("Finding 1 of")
        browser.settles()
        # A second key that follows immediately arrives while the next finding is being drawn, so it must not decide.
        press = "(key) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
        browser.driver.execute_script(f"const press = {press}; press('k'); ({WHEN_DRAWING})(() => press('d'))")
        browser.sees("1 decided")
        browser.sees("Finding 2 of")
        browser.settles()
        assert current_decisions(own_run)["verdict"].tolist() == ["keep"]
        # Neither must the second click of a double click, on the button or its replacement.
        click = "() => document.querySelector('[class*=st-key-decide_keep] button').click()"
        browser.driver.execute_script(f"const click = {click}; click(); ({WHEN_DRAWING})(click)")
        browser.sees("Finding 3 of")
        browser.settles()
        assert current_decisions(own_run)["verdict"].tolist() == ["keep", "keep"]
        assert browser.driver.execute_script("return window.calls") == 2
        browser.press("z")
        browser.sees("1 decided")
        browser.settles()
        browser.choose("Not decided")
        browser.sees("Finding 1 of")
        browser.choose("Grid")
        browser.sees("Page 1 of")
        browser.settles()
        assert browser.key_listeners() == 1
        browser.driver.find_element(By.XPATH, "//label[contains(., 'Select all on this page')]").click()
        browser.until(lambda: "0 selected" not in browser.text(), "all to be selected")
        browser.settles()
        browser.press("u")
        browser.until(lambda: len(current_decisions(own_run)) > 1, "decisions about all")
        assert set(current_decisions(own_run)["verdict"].iloc[1:]) == {"unsure"}
        browser.sees("0 selected")
        browser.settles()
        browser.press("z")
        browser.until(lambda: len(current_decisions(own_run)) == 1, "undo of all")
        # Arrow keys on a radio button move to the next segment, not to the next finding.
        view = browser.driver.find_element(By.XPATH, "//*[@role='radio' and contains(., 'Grid')]")
        browser.driver.execute_script("arguments[0].focus()", view)
        browser.settles()
        view.send_keys(Keys.ARROW_LEFT)
        browser.press(" ")
        browser.sees("Finding 1 of")
        browser.settles()
        assert browser.key_listeners() == 1
        # The state of the page stays after a visit to another page.
        shown = browser.driver.current_url
        assert "finding=" in shown
        browser.go("Search")
        browser.go("Label errors")
        browser.sees("Finding 1 of")
        browser.until(lambda: browser.driver.current_url == shown, "the previous address")
        assert browser.problems() == []


def test_shows_markup_in_names_literally(tmp_path, served):
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
        for page in PAGES:
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


def test_foreign_pages_see_nothing(own_run, served, tmp_path):
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

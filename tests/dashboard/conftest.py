"""A real run that the dashboard's tests look at, and the command that serves it; each test that decides takes a copy."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

import audit
from audit import ScanOptions, demo
from dashboard.command import free_port

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
PAGES = {
    "Label errors": "Finding 1 of",
    "Class confusion": "Confused pairs",
    "Duplicates & leakage": "Finding 1 of",
    "Quality & integrity": "Finding 1 of",
    "Bias & privacy": "Finding 1 of",
    "Images": "Page 1 of",
    "Decisions & export": "Corrected labels",
    "Search": "Part of a file name",
    "Compare": "Compare this run with",
    "Overview": "Look at these first",
}
"""Page -> a text on it."""
PATIENCE = 30.0
PENDING_IMAGES = "return [...document.images].filter(image => !(image.complete && image.naturalWidth)).map(image => image.src)"
QUIET = 0.3
"""Seconds without work after which a page counts as settled: a page is briefly idle between two reruns."""


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    demo.make(folder / "images")
    return audit.scan(folder / "images", folder / "run", options=ScanOptions(backbone="embedded", device="cpu")).path


@pytest.fixture
def own_run(demo_run, tmp_path):
    shutil.copytree(demo_run, tmp_path / "run")
    return tmp_path / "run"


@contextlib.contextmanager
def serve(run, ending=signal.SIGINT, environment=None, options=()):
    """Run the command and yield the address that it prints."""
    command = [sys.executable, "-m", "audit.cli", "dashboard", str(run), "--no-browser", "--port", str(free_port(None)), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | (environment or {})
    )
    try:
        address = re.search(rb"http://\S+", process.stdout.readline())[0].decode()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=1):
                break
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(ending)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(scope="session")
def served():
    return serve


class Browser:
    """Chromium on one address, with its log and its requests."""

    pages = PAGES

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
        path, _, query = path.partition("?")
        self.driver.get(self.address.replace("/?", f"/{path}?{query}&"))

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
        script = """return !document.querySelector('[data-testid=stApp][data-test-script-state=running], [data-testid=stStatusWidget], .ia-wait')
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

    def size(self, width, height, theme="light"):
        """Set the window's size and the preferred theme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        )
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})

    def click(self, selector, text=""):
        """Click the first element with a selector and a text."""
        script = "return [...document.querySelectorAll(arguments[0])].find((one) => one.innerText.includes(arguments[1]))"
        self.until(lambda: self.driver.execute_script(script, selector, text), f"{text!r} in {selector}").click()

    def card(self):
        """Return the id of the card that is shown."""
        return self.driver.execute_script("return document.querySelector('.ia-card')?.dataset.card")

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
def browse(address, *flags):
    browser = Browser(address, *flags)
    try:
        yield browser
    finally:
        browser.driver.quit()


@pytest.fixture(scope="session")
def browsed():
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium and its driver are not installed: apt-get install chromium chromium-driver")
    return browse

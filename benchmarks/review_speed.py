"""A scripted review in Chromium: the time from each key to the next image, keys lost at four a second, and the time of each page.

``python benchmarks/review_speed.py RUN [--findings 100] [--page labels]``. Works on a copy of the run's findings, so nothing is decided in RUN.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

PAGES = ("", "labels", "confusion", "duplicates", "quality", "bias", "images", "map", "decisions", "search")
KEYS = ("k", "1", "u", "d")
NEXT_IMAGE = """const [key, done] = arguments, before = document.querySelector('.ia-card').dataset.card, start = performance.now();
document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
const look = () => {
    const card = document.querySelector('.ia-card');
    const loaded = (one) => one.complete && one.naturalWidth;
    const shown = card && card.dataset.card !== before && [...card.querySelectorAll('.ia-pictures img')].every(loaded);
    if (shown) requestAnimationFrame(() => done(performance.now() - start));
    else if (performance.now() - start > 20000) done(-1);
    else requestAnimationFrame(look);
};
requestAnimationFrame(look);"""
"""Press a key; return the milliseconds until the frame after the one in which the next image is complete, -1 for never."""
QUICKLY = """const [keys, pause, done] = arguments, left = [...keys];
const next = () => left.length
    ? (document.body.dispatchEvent(new KeyboardEvent('keydown', {key: left.shift(), bubbles: true})), setTimeout(next, pause)) : done(true);
next();"""
READY = """const working = '[data-testid=stApp][data-test-script-state=running], [data-testid=stStatusWidget], .ia-wait, [data-stale=true]';
return !document.querySelector(working) && !!document.querySelector('h1') && [...document.images].every((one) => one.complete)"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--findings", type=int, default=100)
    parser.add_argument("--page", default="images?mode=one", help="as in the address; by default every image, the most suspicious labels first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(given.run, copy, ignore=shutil.ignore_patterns("decisions.jsonl", "features.npy", "state"))
        command = [sys.executable, "-m", "audit.cli", "dashboard", str(copy), "--no-browser"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://\S+", server.stderr.readline())[0]
            listening(address)
            review(address, given.page, given.findings, copy)
        finally:
            server.terminate()
            server.wait()


def review(address: str, page: str, findings: int, run: Path) -> None:
    """Review findings, then press keys four a second, then visit each page twice."""
    driver = chromium()
    try:
        visit(driver, address, "")
        visit(driver, address, page)
        time.sleep(1)
        times = []
        for number in range(findings):
            times.append(driver.execute_async_script(NEXT_IMAGE, KEYS[number % len(KEYS)]))
            time.sleep(0.3)  # a fast reviewer
        times = [spent for spent in times if spent >= 0]
        print(f"| {len(times)} keys, to the next image | median {statistics.median(times):.0f} ms | longest {max(times):.0f} ms |")
        print("|---|---|---|")
        print(f"| each key (ms) | {' '.join(f'{spent:.0f}' for spent in times)} | |")
        before = actions(run)
        pressed = "kdu" * 14
        driver.execute_async_script(QUICKLY, pressed, 250)
        time.sleep(2)
        print(f"| keys at four a second: {len(pressed)} | stored {actions(run) - before} | |")
        for name in PAGES:
            first, again = visit(driver, address, name), visit(driver, address, name)
            print(f"| page /{name} | first {first:.2f} s | again {again:.2f} s |")
    finally:
        driver.quit()


def listening(address: str) -> None:
    """Wait until the server answers."""
    parts = urlsplit(address)
    for _ in range(600):
        with suppress(OSError), socket.create_connection((parts.hostname, parts.port), timeout=1):
            return
        time.sleep(0.1)


def actions(run: Path) -> int:
    """Return the number of stored actions."""
    log = run / "decisions.jsonl"
    return len(set(re.findall(r'"action": "(\w+)"', log.read_text()))) if log.exists() else 0


def visit(driver: object, address: str, page: str) -> float:
    """Open a page and return the seconds until it is complete."""
    start = time.monotonic()
    path, _, query = page.partition("?")
    driver.get(address.replace("/?", f"/{path}?{query}&"))
    while time.monotonic() - start < 120 and not driver.execute_script(READY):
        time.sleep(0.02)
    return time.monotonic() - start


def chromium() -> object:
    """Start Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--window-size=1440,900",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    return driver


if __name__ == "__main__":
    main()

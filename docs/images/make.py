"""Make the images of the README from a run of the demo: ``python docs/images/make.py``. Needs Chromium with its driver."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parent
LARGEST = 200_000
"""Bytes of an image."""
COLUMNS, LINES = 100, 30
WINDOW = (1360, 1050)
PORT = 8791
PATIENCE = 60.0
IDLE = (
    "return !document.querySelector('[data-test-script-state=running], [data-testid=stStatusWidget]') && [...document.images].every(i => i.complete)"
)
COMMAND = [sys.executable, "-m", "audit.cli"]


def main() -> None:
    """Write terminal.svg and dashboard.webp next to this script."""
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "demo", "--offline", "--quiet")
        scan = ["scan", "demo-run-images", "--out", "demo-run", "--backbone", "embedded"]
        draw_terminal(f"$ imagenet-audit {' '.join(scan)}\n{run(folder, *scan, '--offline', '--color')}", FOLDER / "terminal.svg")
        with served(Path(folder) / "demo-run") as address:
            photograph(address, FOLDER / "dashboard.webp")
    for path in (FOLDER / "terminal.svg", FOLDER / "dashboard.webp"):
        size = path.stat().st_size
        print(f"{path.name}: {size:,} bytes")
        if size > LARGEST:
            sys.exit(f"{path.name} has more than {LARGEST:,} bytes")


def run(folder: str, *arguments: str) -> str:
    """Run imagenet-audit in a folder; return what it prints."""
    environment = os.environ | {"COLUMNS": str(COLUMNS)}
    return subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def draw_terminal(text: str, path: Path) -> None:
    """Draw the first lines of a text with ANSI colors as SVG, with fonts of the reader's machine only."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi("\n".join(text.splitlines()[:LINES])))
    style = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code,", "")
    console.save_svg(str(path), title="imagenet-audit", code_format=style, unique_id="terminal")


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Serve the dashboard of a run."""
    command = [*COMMAND, "dashboard", str(run), "--no-browser", "--port", str(PORT)]
    process = subprocess.Popen(command, env=os.environ | {"LOGNAME": "reviewer"}, stderr=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+", process.stderr.readline())[0]
    try:
        until(lambda: urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(address, timeout=1))
        yield address
    finally:
        process.terminate()
        process.wait()


def photograph(address: str, path: Path) -> None:
    """Save the dashboard's first page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--window-size={WINDOW[0]},{WINDOW[1]}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(address)
        until(lambda: "Look at these first" in driver.execute_script("return document.body.innerText"))
        until(lambda: driver.execute_script(IDLE))
        time.sleep(2)  # animations
        Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB").save(path, quality=80, method=6)
    finally:
        driver.quit()


def until(happened: object) -> None:
    """Wait until a function returns something true without an error."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(Exception):
            if happened():  # type: ignore[operator]
                return
        time.sleep(0.2)
    sys.exit("the dashboard does not answer")


if __name__ == "__main__":
    main()

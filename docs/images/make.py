"""Make the images of the README, from a run of the demo: ``python docs/images/make.py``. Needs Chromium with its driver."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
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
WINDOW = (1280, 720)
SHOWN = "train/cat/mislabelled.jpg"
"""The image under review."""
PORT = 8791
PATIENCE = 60.0
IDLE = (
    "return !document.querySelector('[data-test-script-state=running], [data-testid=stStatusWidget]') && [...document.images].every(i => i.complete)"
)
BADGES = (
    ("licence", "Apache-2.0", "#1d5fd0"),
    ("python", "3.11 to 3.14", "#1d5fd0"),
    ("types", "mypy strict", "#1d5fd0"),
    ("network", "not needed", "#17683b"),
)
"""Name, text and color of each badge. They are drawn here, so that no other server learns who reads the page."""
COMMAND = [sys.executable, "-m", "audit.cli"]


def main() -> None:
    """Write the badges, terminal.svg, dashboard.webp and map.webp next to this script."""
    for name, words, color in BADGES:
        (FOLDER / f"badge-{name}.svg").write_text(badge(name, words, color), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "demo", "--offline", "--quiet")
        scan = ["scan", "demo-run-images", "--out", "demo-run", "--backbone", "embedded"]
        draw_terminal(f"$ imagenet-audit {' '.join(scan)}\n{run(folder, *scan, '--offline', '--color')}", FOLDER / "terminal.svg")
        with served(Path(folder) / "demo-run") as address:
            from audit import open_run

            wrong = open_run(Path(folder) / "demo-run").findings_page({"check": "label_errors", "sample_id": SHOWN}).rows["finding_id"].item()
            photograph(address, f"labels?finding={wrong}", ".ia-card", FOLDER / "dashboard.webp")
            photograph(address, "map", ".ia-map", FOLDER / "map.webp")
    for path in (FOLDER / "terminal.svg", FOLDER / "dashboard.webp", FOLDER / "map.webp"):
        size = path.stat().st_size
        print(f"{path.name}: {size:,} bytes")
        if size > LARGEST:
            sys.exit(f"{path.name} has more than {LARGEST:,} bytes")


def badge(name: str, words: str, color: str) -> str:
    """Return a badge as SVG."""
    left, right = (round(6.6 * len(text)) + 14 for text in (name, words))
    style = 'font-family="Verdana, DejaVu Sans, sans-serif" font-size="11" fill="#fff" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{name}: {words}">\n'
        f'<rect width="{left + right}" height="20" rx="4" fill="#444"/>\n'
        f'<path d="M{left} 0h{right - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4h-{right - 4}z" fill="{color}"/>\n'
        f'<text x="{left / 2}" y="14" {style}>{name}</text>\n<text x="{left + right / 2}" y="14" {style}>{words}</text>\n</svg>\n'
    )


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
        until(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=1))
        yield address
    finally:
        process.terminate()
        process.wait()


def photograph(address: str, page: str, shown: str, path: Path) -> None:
    """Save a page of the dashboard, once it shows an element."""
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
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        size = {"width": WINDOW[0], "height": WINDOW[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        name, _, query = page.partition("?")
        driver.get(address.replace("/?", f"/{name}?{query}&"))
        until(lambda: driver.execute_script("return !!document.querySelector(arguments[0])", shown))
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

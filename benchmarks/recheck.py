"""Compare a second scan with the first: unchanged, after 1% of the files changed, and from a fresh checkout with a cache.

    python benchmarks/recheck.py IMAGES

``IMAGES`` is a folder of images; 1% of the images of a copy are rotated by 90 degrees. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_CHANGED = 0.01


def scan(images: Path, run: Path, cache: Path | None = None) -> tuple[float, float, int]:
    """Scan with the command line; return wall seconds, CPU seconds and the number of decoded images."""
    command = [sys.executable, "-m", "audit.cli", "scan", images, "--out", run, "--offline", "--backbone", "embedded", "--quiet", "--json"]
    command += ["--cache", cache] if cache else []
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, json.loads((run / "run.json").read_text())["stages"]["ingest"].get("decoded", 0)


def change(images: Path, seed: int) -> None:
    """Rotate 1% of the images."""
    paths = sorted(path for path in images.rglob("*") if path.is_file())
    for at in np.random.default_rng(seed).choice(len(paths), max(1, round(len(paths) * _CHANGED)), replace=False):
        with Image.open(paths[at]) as image:
            turned = image.convert("RGB").rotate(90, expand=True)
        turned.save(paths[at], quality=90)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    with tempfile.TemporaryDirectory() as scratch:
        images, run, cache, fresh = (Path(scratch) / name for name in ("images", "run", "cache", "fresh"))
        shutil.copytree(parser.parse_args().images, images)
        count = sum(path.is_file() for path in images.rglob("*"))
        rows = [("first scan", *scan(images, run, cache)), ("again, unchanged", *scan(images, run, cache))]
        rows[-1] = (*rows[-1][:3], 0)
        change(images, 1)
        rows.append(("1% changed", *scan(images, run, cache)))
        change(images, 2)
        checkout = images.with_name("checkout")
        shutil.copytree(images, checkout, copy_function=shutil.copyfile)
        rows.append(("1% changed, the run reused in a fresh checkout", *scan(checkout, run, cache)))
        change(checkout, 3)
        rows.append(("1% changed, a new run from the cache alone", *scan(checkout, fresh, cache)))
    first = rows[0][1]
    print(
        f"{count} images, {_CHANGED:.0%} changed before each later row\n\n| scan | decoded | wall s | CPU s | of the first |\n|---|---|---|---|---|"
    )
    for name, wall, cpu, decoded in rows:
        print(f"| {name} | {decoded} | {wall:.1f} | {cpu:.1f} | {wall / first:.1%} |")


if __name__ == "__main__":
    main()

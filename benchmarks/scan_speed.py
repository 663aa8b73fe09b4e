"""Measure the speed of a whole scan, compared with peers and with decode and model alone, on the same images.

    python benchmarks/scan_speed.py --photos PHOTOS --small SMALL --peers ~/.cache/audit-peers

``PHOTOS`` is a folder of full-size photos (copied until there are ``--count``), ``SMALL`` one of CIFAR-size images (10,000 are used). Peers are
installed into separate virtual environments below ``--peers``. Prints Markdown tables; asserts nothing about time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

CLEANVISION = """
import sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues()
"""

FASTDUP = """
import sys
import fastdup
found = fastdup.create(input_dir=sys.argv[1], work_dir=sys.argv[2])
found.run(overwrite=True, print_summary=False)
"""


VERSIONS = {"cleanvision": "0.3.7", "imgeda": "0.1.0", "imagededup": "0.3.3.post2", "fastdup": "2.54", "imagehash": "4.3.2", "cleanlab": "2.9.0"}
"""Versions of the peers: the newest when the published tables were made."""


def versioned(name: str) -> str:
    """Return a peer's name and version."""
    return f"{name} {VERSIONS[name]}"


def peer(folder: Path, package: str) -> Path | None:
    """Return the Python of a peer's environment, created on first use; None if the peer cannot be installed. Extras: ``name[extra]``."""
    name = package.partition("[")[0]
    home = folder / f"{name}-{VERSIONS[name]}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        if subprocess.run([python, "-m", "pip", "install", "--quiet", f"{package}=={VERSIONS[name]}"], check=False).returncode:
            shutil.rmtree(home)
            return None
    return python


def seconds(command: list[str | Path]) -> float:
    """Run a command and return its wall time."""
    began = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def decode_all(paths: list[str]) -> int:
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB").load()
    return len(paths)


def bare_decode(paths: list[str], processes: int) -> float:
    """Return images per second of Pillow's decode alone, on all cores."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(decode_all, [paths[:4]] * processes)
        began = time.perf_counter()
        pool.map(decode_all, [paths[at::processes] for at in range(processes)])
        return len(paths) / (time.perf_counter() - began)


def bare_model(name: str, precision: str) -> tuple[str, float]:
    """Return the runtime's name and the images per second of a backbone alone, on all cores."""
    from audit.backbones import choose
    from audit.backbones.placement import place
    from audit.backbones.runtime import OnnxModel, prepare
    from audit.processes import available_cpus

    backbone = choose(name).backbone
    placement = place(backbone, device="cpu", precision=precision, note=print)
    model = prepare(backbone, placement, print)
    assert isinstance(model, OnnxModel)
    embedder = model.open(available_cpus())
    batch = np.random.default_rng(0).integers(0, 256, (64, backbone.preprocessing.input_size, backbone.preprocessing.input_size, 3), np.uint8)
    embedder.embed(batch)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 5:
        embedder.embed(batch)
        count += len(batch)
    return f"{placement.runtime}, {placement.precision}", count / (time.perf_counter() - began)


def gather(folder: Path, into: Path, count: int) -> list[str]:
    """Copy images into their class folders, repeatedly until there are ``count``."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    made = []
    for number in range(count):
        source = found[number % len(found)]
        target = into / source.parent.name / f"{number // len(found)}-{source.parent.parent.name}-{source.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        made.append(str(target))
    return made


def scan(images: Path, run: Path, backbone: str) -> tuple[float, dict[str, float]]:
    """Return a scan's wall time, including process start, and the seconds of its stages."""
    command = [sys.executable, "-m", "audit.cli", "scan", images, "--out", run, "--backbone", backbone, "--quiet"]
    took = seconds(command)
    return took, json.loads((run / "run.json").read_text())["timings"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--small", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--small-count", type=int, default=10_000)
    parser.add_argument("--backbone", default="embedded")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bare_model(arguments.backbone, "auto")  # the first use exports the model, which must not be measured

    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        paths = gather(arguments.photos, photos, arguments.count)
        took, stages = scan(photos, Path(scratch) / "run", arguments.backbone)
        decode = bare_decode(paths, cores)
        models = dict(bare_model(arguments.backbone, precision) for precision in ("float32", "auto"))
        python = peer(arguments.peers, "cleanvision")
        theirs = seconds([python, "-c", CLEANVISION, photos]) if python else float("nan")
        again, _ = scan(photos, Path(scratch) / "run", arguments.backbone)
        count = len(paths)
        ingest = count / stages["ingest"]
        print(f"\n{count} photos, {cores} cores\n")
        print("| what | seconds | images/s | of the scan's time |\n|---|---|---|---|")
        rows = [
            ("whole scan", took),
            ("of it: read, decode, measure, embed", stages["ingest"]),
            ("second scan, nothing changed", again),
            (versioned("cleanvision"), theirs),
            ("bare decode (Pillow)", count / decode),
        ]
        rows += [(f"bare model ({name})", count / rate) for name, rate in models.items()]
        for name, value in rows:
            print(f"| {name} | {value:.1f} | {count / value:.0f} | {value / took:.2f} |")
        plain = models["ONNX Runtime, float32"]
        print(f"\nscan / cleanvision: {took / theirs:.2f}")
        print(f"read-to-embedding stage / min(bare decode, bare ONNX Runtime in float32): {ingest / min(decode, plain):.2f}")

        if arguments.small:
            small = Path(scratch) / "small"
            gather(arguments.small, small, arguments.small_count)
            took, _ = scan(small, Path(scratch) / "run-small", arguments.backbone)
            python = peer(arguments.peers, "fastdup")
            theirs = seconds([python, "-c", FASTDUP, small, Path(scratch) / "fastdup"]) if python else float("nan")
            print(f"\n{arguments.small_count} small images\n")
            print("| what | seconds |\n|---|---|")
            print(f"| whole scan | {took:.1f} |\n| {versioned('fastdup')} | {theirs:.1f} |")
            print(f"\nscan / fastdup: {took / theirs:.2f}")


if __name__ == "__main__":
    main()

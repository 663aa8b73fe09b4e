"""Measure every stage after ingest at a given dataset size: seconds, CPU seconds, peak memory, and how much of the planted errors is found.

    python benchmarks/at_size.py /tmp/at-size --rows 1281167
    python benchmarks/at_size.py /tmp/at-size --rows 1281167 --stages neighbors      # one at a time; the table shows all stages run so far

No image is read. A generator writes the output of ingest: embeddings in clusters of classes and sub-classes with decreasing variance along the axes,
some classes close to another; thumbnails with the spectrum of photographs and their perceptual hashes; near-copies (cosine 0.90 to 0.99, different
brightness, contrast and noise), identical copies, and wrong labels, half of them of the close class. Then the stages of an ordinary scan run on it,
each in a separate process. Its peak memory includes mapped files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from make_run import class_labels, label_of, random_hex, samples_table

from audit.processes import available_cpus

Floats = npt.NDArray[np.float32]

STAGES = ("make", "neighbors", "pairs", "predictions", "checks", "confusion", "report.html", "report.json", "report.csv", "dashboard")
NEAR_COPIES, BYTE_COPIES, WRONG_LABELS = 0.01, 0.003, 0.05
"""Planted shares of the rows."""

_BLOCK = 16_384


def unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class Drawn:
    """Generates the rows of a synthetic dataset, block by block."""

    def __init__(self, rng: np.random.Generator, classes: int, dimension: int) -> None:
        self.rng = rng
        self.spread = (np.arange(1, dimension + 1) ** -0.4).astype(np.float32)
        centres = unit(rng.standard_normal((classes, dimension), np.float32) * self.spread)
        half = classes // 2
        centres[half : 2 * half : 4] = unit(centres[:half:4][: len(centres[half : 2 * half : 4])] + 0.6 * centres[half : 2 * half : 4])
        self.centres, self.parts = centres, unit(rng.standard_normal((classes * 8, dimension), np.float32) * self.spread)
        down, across = np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None, :]
        self.filter = (1 / np.maximum(np.hypot(down, across), 1 / 32)).astype(np.float32)
        self.filter[0, 0] = 0

    def embeddings(self, of_class: npt.NDArray[np.int64]) -> Floats:
        """Return unit rows, each around the centre of a sub-class."""
        part = self.parts[of_class * 8 + self.rng.integers(0, 8, len(of_class))]
        noise = unit(self.rng.standard_normal((len(of_class), len(self.spread)), np.float32) * self.spread)
        return unit(0.4 * self.centres[of_class] + 0.35 * part + 0.8 * noise)

    def near(self, embeddings: Floats) -> Floats:
        """Return embeddings of near-copies."""
        noise = unit(self.rng.standard_normal(embeddings.shape, np.float32) * self.spread)
        return unit(embeddings + self.rng.uniform(0.1, 0.45, (len(embeddings), 1)).astype(np.float32) * noise)

    def thumbnails(self, number: int) -> npt.NDArray[np.uint8]:
        """Return images whose amplitude decreases with frequency, as in photographs."""
        spectrum = np.fft.rfft2(self.rng.standard_normal((number, 32, 32), np.float32)) * self.filter
        luma = np.fft.irfft2(spectrum, s=(32, 32)).astype(np.float32)
        luma *= self.rng.uniform(20, 60, (number, 1, 1)).astype(np.float32) / luma.std(axis=(1, 2), keepdims=True)
        tint = self.rng.uniform(80, 170, (number, 1, 1, 3)).astype(np.float32)
        return np.asarray((luma[..., None] + tint).clip(0, 255), dtype=np.uint8)

    def edited(self, thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return images with changed brightness, contrast and noise."""
        number = len(thumbnails)
        gain, shift = self.rng.uniform(0.8, 1.2, (number, 1, 1, 1)), self.rng.uniform(-15, 15, (number, 1, 1, 1))
        noise = self.rng.standard_normal(thumbnails.shape, np.float32) * self.rng.uniform(1, 4, (number, 1, 1, 1))
        return np.asarray((thumbnails * gain + shift + noise).clip(0, 255), dtype=np.uint8)


def hashes(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return 64-bit DCT hashes: whether each of the 64 lowest frequencies is above their median."""
    at = np.arange(32)
    cosines = np.cos(np.pi * (at[None, :] + 0.5) * np.arange(8)[:, None] / 32).astype(np.float32)
    low = np.matmul(np.matmul(cosines, thumbnails.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)), cosines.T).reshape(-1, 64)
    return np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1).view(np.uint64)[:, 0]


def make(out: Path, rows: int, classes: int, dimension: int, seed: int) -> None:
    """Write ``run/`` as ingest leaves it, and the planted rows: ``wrong.npy``, ``near.npy`` and ``copies.npy``."""
    from audit.io.artifacts import create_array, write_array, write_json, write_table
    from audit.run.record import key_of
    from audit.tables import FEATURE_BYTES, FEATURES, OUTCOMES, SCHEMA_VERSION
    from audit.taxonomy import Taxonomy

    rng = np.random.default_rng(seed)
    drawn = Drawn(rng, classes, dimension)
    split, of_class = class_labels(rng, rows, classes)
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    embeddings = create_array(run / "embeddings.npy", (rows, dimension), np.float16)
    thumbnails = create_array(run / "thumbnails.npy", (rows, 32, 32, 3), np.uint8)
    create_array(run / "features.npy", (rows, FEATURES, FEATURE_BYTES), np.uint8)  # none: there are no images to compare
    perceptual = np.empty(rows, np.uint64)
    for start in range(0, rows, _BLOCK):
        part = slice(start, min(start + _BLOCK, rows))
        embeddings[part] = drawn.embeddings(of_class[part])
        thumbnails[part] = drawn.thumbnails(part.stop - start)
        perceptual[part] = hashes(thumbnails[part])
    chosen = rng.permutation(rows)
    near, identical = round(NEAR_COPIES * rows), round(BYTE_COPIES * rows)
    copies, originals = chosen[:near], rng.choice(chosen[near : 2 * near], near)  # an original has one copy, or a few
    same, first = chosen[2 * near : 2 * near + identical], chosen[2 * near + identical : 2 * near + 2 * identical]
    for start in range(0, near, _BLOCK):
        copy, original = copies[start : start + _BLOCK], originals[start : start + _BLOCK]
        embeddings[copy] = drawn.near(embeddings[original].astype(np.float32))
        thumbnails[copy] = drawn.edited(thumbnails[original])
        perceptual[copy] = hashes(thumbnails[copy])
    embeddings[same], thumbnails[same], perceptual[same] = embeddings[first], thumbnails[first], perceptual[first]
    content = np.array(random_hex(rng, rows, 64), object)
    content[same] = content[first]
    true, given = of_class.copy(), of_class.copy()
    true[copies], true[same] = true[originals], true[first]
    given[copies], given[same] = true[copies], true[same]
    wrong = np.sort(chosen[-round(WRONG_LABELS * rows) :])
    half = classes // 2
    beside = np.where(true[wrong] < half, true[wrong] + half, true[wrong] - half) % classes
    given[wrong] = np.where(rng.random(len(wrong)) < 0.5, beside, (true[wrong] + rng.integers(1, classes, len(wrong))) % classes)
    small = np.full(rows, 32, np.int32)  # the thumbnail is all there is: larger images would be read again to compare them
    known = {
        "width": small,
        "height": small,
        "content_id": content,
        "pixel_id": content,
        "perceptual_hash": perceptual,
        "label": [label_of(at) for at in given.tolist()],
    }
    write_table(run / "samples.parquet", samples_table(rng, split, of_class, known))
    write_array(out / "wrong.npy", wrong)
    write_array(out / "near.npy", np.stack([originals, copies], axis=1))
    write_array(out / "copies.npy", np.stack([first, same], axis=1))
    backbone = {"name": "drawn", "weights_id": f"drawn-{seed}", "precision": "float16", "device": "cpu", "licence": "none", "reason": "drawn"}
    content_of_record = {
        "schema_version": SCHEMA_VERSION,
        "version": "0",
        "source": {"kind": "folder", "location": "/nowhere/drawn", "ignored": {}, "problems": []},
        "options": {"source": {}},
        "backbone": backbone | {"dimension": dimension},
        "counts": {"listed": rows, "scanned": rows, "failed": 0, "outcomes": dict.fromkeys(OUTCOMES, 0) | {"ok": rows}},
        "stages": {"ingest": {"state": "done", "key": key_of("drawn", rows, seed)}},
        "timings": {},
        "classes": sorted({label_of(at) for at in given.tolist()}),
        "class_words": {},
        "taxonomy": dataclasses.asdict(Taxonomy()),
        "finished": False,
    }
    write_json(run / "run.json", content_of_record)


class _Reached(Exception):  # noqa: N818  not an error: the requested stage is done
    pass


class Until:
    """An observer that stops the scan before the stage after the wanted one."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted

    def stage(self, name: str, total: int | None) -> None:
        """Stop the scan if the wanted stage is done."""
        if STAGES.index(name) > STAGES.index(self.wanted):
            raise _Reached

    def advance(self, count: int) -> None:
        """Ignore progress."""

    def note(self, message: str) -> None:
        """Print a line."""
        print(message, file=sys.stderr)


def scan_until(run: Path, stage: str) -> None:
    """Run the stages of a scan after ingest up to one of them; skips those that are done."""
    from audit.config import ScanOptions
    from audit.engines import LocalEngine
    from audit.io.artifacts import read_table
    from audit.pipeline import scan
    from audit.pipeline.checks import wanted_checks
    from audit.pipeline.run_folder import open_record
    from audit.pipeline.stage import Scan
    from audit.tables import LISTING

    record, options, nothing = open_record(run, print), ScanOptions(offline=True), cast("Any", None)  # the images themselves are not there
    drawn = Scan(
        run=run,
        source=nothing,
        listing=read_table(run / "samples.parquet", LISTING.names),
        classes=record.content["classes"],
        options=options,
        checks=wanted_checks(options),
        backbone=nothing,
        placement=nothing,
        plan={},
        cache=None,
        engine=LocalEngine(),
        record=record,
        observer=Until(stage),
    )
    try:
        for behind_ingest in scan.STAGES[3:]:
            scan.run_stage(behind_ingest, drawn)
    except _Reached:
        return
    record.content["finished"] = True
    record.save()


def dashboard(run: Path) -> None:
    """Open the overview and the two pages with the largest tables, without a browser."""
    from streamlit.testing.v1 import AppTest

    def page(path: str, view: str) -> None:
        from importlib import import_module

        from audit import open_run

        import_module(f"dashboard.views.{view}").show(open_run(path))

    for view in ("overview", "label_errors", "duplicates"):
        began = time.perf_counter()
        test = AppTest.from_function(page, args=(str(run), view), default_timeout=600).run()
        print(f"{view}: {time.perf_counter() - began:.1f} s {[str(error.value) for error in test.exception]}", file=sys.stderr)


def work(options: argparse.Namespace, stage: str) -> None:
    """Run one stage in this process."""
    run = options.out / "run"
    if stage == "make":
        make(options.out, options.rows, options.classes, options.dimension, options.seed)
    elif stage == "confusion":
        from audit import open_run
        from audit.labels.confusion import class_quality, confused_pairs

        opened = open_run(run)
        print(f"{len(confused_pairs(opened)):,} pairs of {len(class_quality(opened)):,} classes are confused", file=sys.stderr)
    elif stage == "dashboard":
        dashboard(run)
    elif stage.startswith("report"):
        kind = stage.partition(".")[2]
        subprocess.run([sys.executable, "-m", "audit.cli", "report", run, "--out", options.out / f"report.{kind}"], check=True)
    else:
        scan_until(run, stage)


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return wall seconds, CPU seconds, and the largest peak memory (GiB) of it and its child processes."""
    began = time.perf_counter()
    _, status, used = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed")
    unit_of_memory = 2**30 if sys.platform == "darwin" else 2**20
    return {"seconds": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / unit_of_memory}


def found(out: Path) -> dict[str, Any]:
    """Compare the run with what was planted."""
    import pandas as pd
    from sklearn.metrics import average_precision_score

    run, figures = out / "run", {}
    if (run / "pairs.parquet").is_file():
        pairs = pd.read_parquet(run / "pairs.parquet", columns=["i", "j"])
        kept = pd.MultiIndex.from_frame(pairs)
        near, identical = (np.sort(np.load(out / f"{name}.npy"), axis=1) for name in ("near", "copies"))
        for name, planted in (("near-copies", near), ("identical copies", identical)):
            hits = int((kept.get_indexer(pd.MultiIndex.from_arrays(planted.T.astype(np.int32))) >= 0).sum())
            figures[f"recall of planted {name}"] = f"{hits / len(planted):.4f} ({hits:,} of {len(planted):,})"
        family = np.arange(int(pairs.max().max()) + 1 if len(pairs) else 0)
        sources = np.concatenate([near, identical])
        figures["pairs kept"] = f"{len(pairs):,}"
        roots = pd.Series(np.load(out / "near.npy")[:, 0], index=np.load(out / "near.npy")[:, 1])
        true = pd.Series(family).map(roots).fillna(pd.Series(family)).to_numpy()
        expected = pd.MultiIndex.from_arrays(sources.T.astype(np.int32)).union(kept[true[pairs["i"]] == true[pairs["j"]]])
        figures["wrong pairs"] = f"{len(pairs) - int(kept.isin(expected).sum()):,}"
    if (run / "label_quality.parquet").is_file():
        score = pd.read_parquet(run / "label_quality.parquet", columns=["score"])["score"].fillna(0).to_numpy()
        wrong = np.zeros(len(score), bool)
        wrong[np.load(out / "wrong.npy")] = True
        figures["average precision of planted wrong labels"] = f"{average_precision_score(wrong, score):.3f} (planted share: {wrong.mean():.3f})"
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=list(STAGES), help=f"some of {','.join(STAGES)}")
    parser.add_argument("--work", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options, options.work)
        return
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"unknown stage {', '.join(sorted(unknown))}; stages are {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    noted = options.out / "measured.json"
    figures = json.loads(noted.read_text()) if noted.is_file() and "make" not in options.stages else {}
    plan = ["--rows", options.rows, "--classes", options.classes, "--dimension", options.dimension, "--seed", options.seed]
    for stage in (stage for stage in STAGES if stage in options.stages):
        figures[stage] = measured([sys.executable, __file__, str(options.out), *map(str, plan), "--work", stage])
        noted.write_text(json.dumps(figures))
        print(f"{stage}: {figures[stage]}", file=sys.stderr)
    record = json.loads((options.out / "run" / "run.json").read_text())
    print(f"{record['counts']['listed']:,} rows x {record['backbone']['dimension']}, {available_cpus()} cores\n")
    print("| stage | seconds | CPU seconds | peak memory, GiB |\n|---|---|---|---|")
    for stage, figure in figures.items():
        print(f"| {stage} | {figure['seconds']:.0f} | {figure['cpu']:.0f} | {figure['memory']:.1f} |")
    neighbors = record["stages"].get("neighbors", {})
    results = found(options.out)
    if neighbors.get("recall") is not None:
        results["recall of the nearest neighbors, on a sample"] = f"{neighbors['recall']:.4f}"
    results |= {f"findings of {name}": f"{check['findings']:,} in {check['seconds']:.0f} s" for name, check in record.get("checks", {}).items()}
    print("\n| what | |\n|---|---|")
    for name, value in results.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()

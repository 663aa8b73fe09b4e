"""Predict the cost of a scan of any size (hours, memory, disk, machines) from measured scans.

    python benchmarks/cost_model.py measure IMAGES RUN --note points.json        # one scan, with CPU seconds and peak memory of its stages
    python benchmarks/cost_model.py predict points.json [--at-size /tmp/at-size/measured.json] [--cores 16] [--classes 1000] [--dimension 512]

The model has one to three coefficients per stage, fitted to CPU seconds (which depend less on other programs than wall time) by relative errors of
equal weight:

=============  ==================================================================================
ingest         a n: every image is read, decoded, measured and embedded once
neighbors      a n² d up to 50,000 rows (exact); above, b n √n + c n (inverted lists of √n rows, re-ranking of a fixed number)
pairs          a n: a bounded number of candidates for every image; fitted to scans of real images only
predictions    fixed + a n c: fitting uses at most 200,000 rows, prediction every row and class
checks         fixed + a n
=============  ==================================================================================

Each point is also predicted from the others, if there are enough, and printed next to its measured value. At least two points of different sizes are
needed, and for sizes above 50,000 one point above 50,000, since larger datasets use a different search.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psutil
from inputs import images, noted

from audit.errors import AuditError
from audit.neighbors.search import EXACT_UP_TO
from audit.processes import available_cpus

STAGES = ("ingest", "neighbors", "pairs", "predictions", "checks")
SIZES = (1_281_167, 14_000_000, 1_000_000_000)
_TERMS: dict[str, Callable[[float, float, float], tuple[float, ...]]] = {
    "ingest": lambda n, _c, _d: (n,),
    "neighbors": lambda n, _c, d: (n * n * d, 0, 0) if n <= EXACT_UP_TO else (0, n**1.5, n),
    "pairs": lambda n, _c, _d: (n,),
    "predictions": lambda n, c, _d: (1, n * c, n),
    "checks": lambda n, _c, _d: (1, n),
}
"""Stage -> the terms of its coefficients, for n images, c classes, d dimensions."""


class Point(NamedTuple):
    """One measured scan."""

    rows: int
    classes: int
    dimension: int
    cpu: dict[str, float]
    """CPU seconds of each stage."""
    memory: float
    """Peak memory, GiB."""
    name: str
    generated: bool = False
    """Whether the rows are synthetic: their pairs are faster to verify than those of real images."""


class Watch:
    """An observer that records the CPU seconds at the start of each stage, including worker processes as last seen."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}
        self.began = [("listing", _cpu())]
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        # Workers are children of a fork server, so the resource usage of this process does not include them.
        while True:
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    used = child.cpu_times()
                    self.seen[child.pid] = used.user + used.system
            time.sleep(0.2)

    def _cpu(self) -> float:
        return _cpu() + sum(list(self.seen.values()))

    def stage(self, name: str, total: int | None) -> None:
        """Record the start of a stage."""
        self.began.append((name, self._cpu()))

    def advance(self, count: int) -> None:
        """Ignore progress."""

    def note(self, message: str) -> None:
        """Print a line."""
        print(message, file=sys.stderr)

    def seconds(self) -> dict[str, float]:
        """Return the CPU seconds of each stage, by the names of the model."""
        ends = [*(at for _, at in self.began[1:]), self._cpu()]
        spent: dict[str, float] = {}
        for (name, at), end in zip(self.began, ends, strict=True):
            stage = {"listing": "ingest", "images": "ingest", "previews": "checks"}.get(name, name)
            spent[stage] = spent.get(stage, 0.0) + end - at
        return spent


def _cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, run: Path, note: Path) -> None:
    """Scan once and add a point to a JSON file. Raises ArgumentTypeError if the file contains anything else."""
    import audit

    points = noted(str(note)) if note.is_file() else []
    if not isinstance(points, list):
        raise argparse.ArgumentTypeError(f"{note}: is not a list of points; give a file written by measure, or a new one")
    watch, began = Watch(), time.perf_counter()
    found = audit.scan(folder, run, options=audit.ScanOptions(backbone="embedded", offline=True), observer=watch)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    point = {
        "rows": len(found),
        "classes": len(found.classes),
        "dimension": int(found.embeddings.shape[1]),
        "cpu": {name: round(value, 2) for name, value in watch.seconds().items()},
        "memory": round(peak / (2**30 if sys.platform == "darwin" else 2**20), 3),
        "wall": round(time.perf_counter() - began, 1),
        "disk": sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
        "cores": available_cpus(),
    }
    note.write_text(json.dumps([*points, point], indent=1))
    print(json.dumps(point))


def read_points(measured: Sequence[dict[str, Any]], at_size: Sequence[Path]) -> list[Point]:
    """Read points from ``measure``, and from ``at_size.py``, which has no ingest."""
    points = [Point(one["rows"], one["classes"], one["dimension"], one["cpu"], one["memory"], f"{one['rows']:,} images") for one in measured]
    for path in at_size:
        record = json.loads((path.parent / "run" / "run.json").read_text())
        figures = json.loads(path.read_text())
        cpu = {stage: figures[stage]["cpu"] for stage in STAGES if stage in figures}
        memory = max(figures[stage]["memory"] for stage in cpu)
        rows = record["counts"]["listed"]
        points.append(Point(rows, len(record["classes"]), record["backbone"]["dimension"], cpu, memory, f"{rows:,} generated rows", generated=True))
    return points


def lacking(points: Sequence[Point], sizes: Sequence[int]) -> str | None:
    """Return which points are missing to predict the sizes; None if there are enough."""
    known = sorted({point.rows for point in points})
    given = f"{len(points)} points, of {', '.join(f'{rows:,}' for rows in known) or 'no'} images"
    if len(known) < 2:
        return f"{given}: at least 2 of different sizes are needed; add one with measure, or with --at-size"
    beyond = [point for point in points if point.rows > EXACT_UP_TO and "neighbors" in point.cpu]
    if max(sizes) > EXACT_UP_TO and not beyond:
        return f"{given}: sizes above {EXACT_UP_TO:,} use a different search and need a point above it; add one, or use smaller --sizes"
    return None


def few_classes(points: Sequence[Point], classes: int) -> str | None:
    """Return a warning if no point has at least half of the classes, on which the cost of predictions depends."""
    most = max((point.classes for point in points if "predictions" in point.cpu), default=0)
    if 2 * most >= classes:
        return None
    return f"no point has more than {most:,} classes: predictions with {classes:,} are a guess; add points with --at-size, or use fewer --classes"


def fit(stage: str, points: Sequence[Point]) -> npt.NDArray[np.float64]:
    """Fit a stage's coefficients by non-negative least squares of relative errors."""
    from scipy.optimize import nnls

    known = [point for point in points if stage in point.cpu]
    known = [point for point in known if stage != "pairs" or not point.generated] or known
    terms = np.array([_TERMS[stage](point.rows, point.classes, point.dimension) for point in known], np.float64)
    spent = np.array([max(point.cpu[stage], 0.01) for point in known])  # seconds are rounded to hundredths: a small scan's can be 0.0
    scale = np.maximum(np.abs(terms).max(axis=0), 1e-300)
    found, _ = nnls(terms / scale / spent[:, None], np.ones(len(known)))
    return np.asarray(found / scale, dtype=np.float64)


def predict(stage: str, coefficients: npt.NDArray[np.float64], rows: int, classes: int, dimension: int) -> float:
    """Return CPU seconds."""
    return float(np.dot(coefficients, _TERMS[stage](rows, classes, dimension)))


def disk(rows: int, classes: int, dimension: int, neighbors: int = 20, spare: int = 6) -> float:
    """Return the size of a run directory in GB: arrays by their layout, Parquet by a measured size per row."""
    arrays = 2 * dimension + 32 * 32 * 3 + 8 * neighbors + 8 * (neighbors + spare) + 32 + 4 * classes
    return rows * (arrays + 250) / 1e9


def check(points: Sequence[Point]) -> None:
    """Print every point with its prediction from the other points."""
    print("| point | stage | CPU seconds | from the other points | ratio |\n|---|---|---|---|---|")
    for point in points:
        for stage in (stage for stage in STAGES if stage in point.cpu):
            others = [other for other in points if other is not point and stage in other.cpu]
            terms = np.array(_TERMS[stage](point.rows, point.classes, point.dimension), bool)
            seen = [other for other in others if np.any(terms & np.array(_TERMS[stage](other.rows, other.classes, other.dimension), bool))]
            if not seen:
                print(f"| {point.name} | {stage} | {point.cpu[stage]:,.0f} | no other point of this kind | |")
                continue
            predicted = predict(stage, fit(stage, others), point.rows, point.classes, point.dimension)
            print(f"| {point.name} | {stage} | {point.cpu[stage]:,.0f} | {predicted:,.0f} | {predicted / max(point.cpu[stage], 1e-9):.2f} |")


def table(points: Sequence[Point], options: argparse.Namespace) -> None:
    """Print the cost of each size on one machine, and the machines needed to ingest the images within a day."""
    fitted: dict[str, Any] = {stage: fit(stage, points) for stage in STAGES if any(stage in point.cpu for point in points)}
    if options.image_cpu is not None:
        fitted["ingest"] = np.array([options.image_cpu / 1000])
    memory = np.polyfit([point.rows for point in points], [point.memory for point in points], 1, w=[1 / point.memory for point in points])
    head = " | ".join(f"{stage}, h" for stage in fitted)
    print(f"\n{options.cores} cores, {options.classes:,} classes, {options.dimension} dimensions; hours are CPU hours over cores\n")
    print(f"| images | {head} | total, h | machines for a day's ingest | memory, GB | disk, GB |\n|---|{'---|' * (len(fitted) + 4)}")
    for rows in options.sizes:
        hours = {stage: predict(stage, found, rows, options.classes, options.dimension) / options.cores / 3600 for stage, found in fitted.items()}
        each = " | ".join(f"{value:,.2f}" for value in hours.values())
        needed = max(memory[1] + memory[0] * rows, 0) * 1.0737
        machines = int(np.ceil(hours["ingest"] / 24)) if "ingest" in hours else 1
        print(
            f"| {rows:,} | {each} | {sum(hours.values()):,.1f} | {machines} | {needed:,.0f} | {disk(rows, options.classes, options.dimension):,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", help="scan once and record the cost")
    one.add_argument("images", type=images())
    one.add_argument("run", type=Path, help="an empty folder for the run")
    one.add_argument("--note", type=Path, required=True, help="JSON file to add the point to")
    other = commands.add_parser("predict", help="fit, check and extrapolate")
    other.add_argument("points", type=noted, help="JSON file written by measure")
    other.add_argument("--at-size", type=Path, action="append", default=[], help="measured.json of at_size.py")
    other.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    other.add_argument("--cores", type=int, default=16)
    other.add_argument("--classes", type=int, default=1000)
    other.add_argument("--dimension", type=int, default=512)
    other.add_argument("--image-cpu", type=float, help="CPU milliseconds of ingest per image, if the points' images are of another kind")
    options = parser.parse_args()
    if options.command == "measure":
        try:
            measure(options.images, options.run, options.note)
        except (AuditError, argparse.ArgumentTypeError) as error:
            one.error(str(error))
        return
    try:
        points = read_points(options.points, options.at_size)
    except (OSError, ValueError, KeyError, TypeError) as error:
        other.error(f"the points were not written by measure or at_size.py ({type(error).__name__}: {error})")
    if too_few := lacking(points, options.sizes):
        other.error(too_few)
    check(points)
    table(points, options)
    if guess := few_classes(points, options.classes):
        print(f"\n{guess}")


if __name__ == "__main__":
    main()

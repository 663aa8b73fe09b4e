"""Measure what a GPU contributes to a scan, each figure with its limit; says so if there is no GPU.

    python benchmarks/gpu.py                                  # everything, in at most 9 minutes; lists the parts that did not fit
    python benchmarks/gpu.py --parts neighbors,probes --rows 1281167 14000000

Measures the GPU's bf16 matrix rate; the image towers of CLIP ViT-B/32 and ViT-L/14, eager and compiled, with random weights (their values do not
affect speed), compared with that rate and with the decode rate of this machine's CPU; transfers of model inputs from pageable and pinned memory,
compared with the link's rate; JPEG decode on the GPU, compared with the CPU; exact neighbors, by FAISS if it supports GPUs and by PyTorch, and the
training of the softmax probe, compared with the matrix rate. ``--device cpu`` tests the script without a GPU.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from audit.processes import available_cpus

TOWERS = {"ViT-B-32": 4.4e9 * 2, "ViT-L-14": 81.1e9 * 2}
"""Floating-point operations for one image, two per multiply-add (multiply-adds as open_clip's model profiles list them)."""

PARTS = ("matrix", "transfers", "decode", "towers", "neighbors", "probes")
K = 27
"""Neighbors searched for a row: 20 kept, 6 spare, itself."""
CLASSES, FOLDS = 1000, 5
Row = tuple[str, str, str, str]
"""Name, measured value, limit, share of the limit."""


@dataclass
class Bench:
    """Device and sizes of the measurements, and results that later parts use."""

    device: str
    batch: int
    rows: list[int]
    dimension: int
    side: int
    ends: float
    rate: float = float("nan")
    """bf16 matrix operations per second."""
    decode: float = float("nan")
    """Images per second that the CPU decodes."""

    def wait(self) -> None:
        """Wait until the device has finished."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], least: float = 2.0, warm: int = 3) -> float:
        """Return the mean seconds of one call over at least ``least`` seconds, after ``warm`` warm-up calls."""
        for _ in range(warm):
            work()
        self.wait()
        began, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - began < least:
            work()
            self.wait()
            calls += 1
        return (time.perf_counter() - began) / calls


def photo() -> bytes:
    """Return a JPEG of ImageNet's typical size, from a photograph that scikit-learn ships."""
    from PIL import Image

    with Image.open(io.BytesIO((files("sklearn.datasets.images") / "china.jpg").read_bytes())) as image:
        made = io.BytesIO()
        image.resize((500, 375)).save(made, "JPEG", quality=90)
    return made.getvalue()


def decode_many(count: int) -> int:
    """Decode a photo as a scan does, ``count`` times."""
    from audit.images.decode import decode

    data = photo()
    for _ in range(count):
        decode(data)
    return count


def matrix(bench: Bench) -> Iterator[Row]:
    import torch

    left = torch.randn(bench.side, bench.side, device=bench.device, dtype=torch.bfloat16)
    bench.rate = 2 * bench.side**3 / bench.seconds(lambda: left @ left)
    yield f"bf16 matrix product of {bench.side} x {bench.side}", f"{bench.rate / 1e12:,.1f} TFLOP/s", "-", "-"


def transfers(bench: Bench) -> Iterator[Row]:
    import torch

    large = torch.zeros(2**28 if bench.device == "cuda" else 2**22, dtype=torch.uint8)
    images = torch.zeros((bench.batch, 224, 224, 3), dtype=torch.uint8)
    pinned = [part.pin_memory() if bench.device == "cuda" else part for part in (large, images)]
    link = len(large) / bench.seconds(lambda: pinned[0].to(bench.device, non_blocking=True, copy=True))
    yield "link to the device, 256 MiB pinned", f"{link / 1e9:.1f} GB/s", "-", "-"
    limit = link / (224 * 224 * 3)
    for way, source in (("pageable", images), ("pinned", pinned[1])):
        speed = bench.batch / bench.seconds(lambda source=source: source.to(bench.device, non_blocking=True, copy=True))
        yield f"transfer of uint8 inputs, {way}", f"{speed:,.0f} img/s", f"{limit:,.0f} img/s (link)", f"{speed / limit:.2f}"


def decode(bench: Bench) -> Iterator[Row]:
    import torch

    cores = available_cpus()
    each = 400
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(decode_many, [4] * cores)
        began = time.perf_counter()
        pool.map(decode_many, [each] * cores)
        bench.decode = cores * each / (time.perf_counter() - began)
    yield f"decode of 500 x 375 JPEGs on {cores} cores", f"{bench.decode:,.0f} img/s", "-", "-"
    if bench.device != "cuda":
        yield "decode on the GPU", "not measured: no GPU", "-", "-"
        return
    from torchvision.io import decode_jpeg

    data = [torch.frombuffer(bytearray(photo()), dtype=torch.uint8)] * bench.batch
    speed = bench.batch / bench.seconds(lambda: decode_jpeg(data, device="cuda"))
    verdict = "helps" if speed > 1.2 * bench.decode else "does not help"
    yield f"decode on the GPU (nvJPEG): {verdict}", f"{speed:,.0f} img/s", f"{bench.decode:,.0f} img/s (the cores)", f"{speed / bench.decode:.2f}"


def towers(bench: Bench) -> Iterator[Row]:
    import open_clip
    import torch

    for name, operations in TOWERS.items():
        tower = open_clip.create_model(name, pretrained=None).visual.to(bench.device, torch.bfloat16).eval()
        batch = torch.randn(bench.batch, 3, 224, 224, device=bench.device, dtype=torch.bfloat16)
        for way in ("eager", "compiled"):
            model = tower if way == "eager" else torch.compile(tower)
            with torch.inference_mode():
                speed = bench.batch / bench.seconds(lambda model=model, batch=batch: model(batch))
            limit = bench.rate / operations
            yield f"CLIP {name}, {way}", f"{speed:,.0f} img/s", f"{limit:,.0f} img/s (matrix rate)", f"{speed / limit:.2f}"
            yield (
                f"CLIP {name}, {way}, fed by this machine",
                f"{min(speed, bench.decode):,.0f} img/s",
                f"{bench.decode:,.0f} img/s (decode)",
                f"{min(speed, bench.decode) / bench.decode:.2f}",
            )


def neighbors(bench: Bench) -> Iterator[Row]:
    import torch

    for rows in bench.rows:
        queries = min(16_384, rows)
        limit = 2 * rows * rows * bench.dimension / bench.rate / 3600
        name = f"exact neighbors, {rows:,} x {bench.dimension}"
        base = torch.empty(rows, bench.dimension, dtype=torch.float16, device=bench.device)
        for start in range(0, rows, 2**20):
            base[start : start + 2**20].normal_()
        base /= base.norm(dim=1, keepdim=True)
        took = bench.seconds(lambda base=base, queries=queries: nearest(base[:queries], base), warm=1) * rows / queries / 3600
        yield f"{name}, PyTorch, from {queries:,} queries", f"{took:.3f} h", f"{limit:.3f} h (matrix rate)", f"{limit / took:.2f}"
        yield faiss_row(bench, name, base, limit)
        del base


def nearest(queries: object, base: object) -> object:
    """Return the nearest rows of ``base`` for each query, computed in blocks."""
    import torch

    assert isinstance(queries, torch.Tensor)
    assert isinstance(base, torch.Tensor)
    kept = []
    for start in range(0, len(queries), 4096):
        block, best, at = queries[start : start + 4096], [], []
        for first in range(0, len(base), 2**18):
            found = (block @ base[first : first + 2**18].T).topk(min(K, len(base) - first))
            best.append(found.values)
            at.append(found.indices + first)
        order = torch.cat(best, 1).topk(min(K, len(base))).indices
        kept.append(torch.cat(at, 1).gather(1, order))
    return torch.cat(kept)


def faiss_row(bench: Bench, name: str, base: object, limit: float) -> Row:
    import faiss
    import torch

    assert isinstance(base, torch.Tensor)
    if bench.device != "cuda" or faiss.get_num_gpus() == 0:
        return f"{name}, FAISS", "not measured: FAISS finds no GPU", f"{limit:.3f} h (matrix rate)", "-"
    resources, vectors = faiss.StandardGpuResources(), base.cpu().numpy()
    queries = np.ascontiguousarray(vectors[:16_384])
    spent = bench.seconds(lambda: faiss.knn_gpu(resources, queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT), warm=1)
    took = spent * len(vectors) / len(queries) / 3600
    return f"{name}, FAISS, from {len(queries):,} queries", f"{took:.3f} h", f"{limit:.3f} h (matrix rate)", f"{limit / took:.2f}"


def probes(bench: Bench) -> Iterator[Row]:
    from audit.predictions.probes import Training, softmax_probe

    rng = np.random.default_rng(0)
    some = rng.standard_normal((min(2**20, *bench.rows), bench.dimension), np.float32)
    for rows in bench.rows:
        features = np.resize(some, (rows, bench.dimension))
        training = Training(features, rng.integers(0, CLASSES, rows), rng.integers(0, FOLDS, rows).astype(np.int8), FOLDS, CLASSES, 0, bench.device)
        took = bench.seconds(lambda training=training: softmax_probe(training), least=0, warm=0)
        passes = round(6 * float(np.clip(25_000 / rows, 0.4, 2)))
        limit = 6 * rows * bench.dimension * CLASSES * FOLDS * passes / bench.rate
        yield f"softmax probe, {FOLDS} folds, {rows:,} x {bench.dimension}", f"{took:.1f} s", f"{limit:.1f} s (matrix rate)", f"{limit / took:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_281_167, 14_000_000])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--side", type=int, default=8192, help="of the matrix product")
    parser.add_argument("--limit", type=float, default=540, help="seconds after which no other part starts")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch finds no usable GPU: nothing was measured")
        return 0
    bench = Bench(options.device, options.batch, options.rows, options.dimension, options.side, time.monotonic() + options.limit)
    card = torch.cuda.get_device_name() if options.device == "cuda" else "CPU (script test)"
    print(f"{card}, PyTorch {torch.__version__}\n\n| what | found | limit | share |\n|---|---|---|---|", flush=True)
    # The matrix rate and the decode rate are limits of later parts.
    wanted = [part for part in PARTS if part in options.parts or part == "matrix" or (part == "decode" and "towers" in options.parts)]
    measure = {"matrix": matrix, "transfers": transfers, "decode": decode, "towers": towers, "neighbors": neighbors, "probes": probes}
    for part in wanted:
        if time.monotonic() > bench.ends:
            print(f"| {part} | not measured: the limit of {options.limit:.0f} s was reached; use --parts {part} | - | - |", flush=True)
            continue
        rows = measure[part](bench)
        try:
            for row in rows:
                print(f"| {' | '.join(row)} |", flush=True)
                if time.monotonic() > bench.ends:
                    print(
                        f"| the rest of {part} | not measured: the limit of {options.limit:.0f} s was reached; use --parts {part} | - | - |",
                        flush=True,
                    )
                    break
        except (RuntimeError, ImportError, MemoryError) as error:  # GPU too small or library without CUDA: continue with the other parts
            print(f"| {part} | not measured: {' '.join(str(error).split())[:120]} | - | - |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a GPU does for a scan, each figure beside its limit; says so plainly where there is no GPU.

    python benchmarks/gpu.py [--rows 1280000 --dimension 512]

Prints the card's measured bf16 matrix rate, the image towers of CLIP ViT-B/32 and ViT-L/14 eager and compiled with random weights (speed does not
depend on their values), pinned and pageable transfers, and an exact FAISS search of a sample of queries.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

TOWERS = {"ViT-B-32": 4.4e9 * 2, "ViT-L-14": 81.1e9 * 2}
"""Floating-point operations for one image, two per multiply-add (multiply-adds as open_clip's model profiles list them)."""


def seconds(work: Callable[[], object], least: float = 2.0) -> float:
    """Return the seconds of one call, over at least ``least`` seconds after three calls to warm up."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < least:
        work()
        calls += 1
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_280_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use on this machine: nothing was measured")
        return 0
    import open_clip

    device = torch.device("cuda")
    side = 8192
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    rate = 2 * side**3 / seconds(lambda: left @ left)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}\n\n| what | found | limit | share |\n|---|---|---|---|")
    print(f"| bf16 matrix product of {side} x {side} | {rate / 1e12:.0f} TFLOP/s | - | - |")
    for name, operations in TOWERS.items():
        tower = open_clip.create_model(name, pretrained=None).visual.to(device, torch.bfloat16).eval()
        batch = torch.randn(options.batch, 3, 224, 224, device=device, dtype=torch.bfloat16)
        for way, model in (("eager", tower), ("compiled", torch.compile(tower))):
            with torch.inference_mode():
                speed = options.batch / seconds(lambda model=model, batch=batch: model(batch))
            print(f"| CLIP {name}, {way} | {speed:,.0f} img/s | {rate / operations:,.0f} img/s | {speed * operations / rate:.2f} |")
    images = torch.zeros((options.batch, 224, 224, 3), dtype=torch.uint8)
    for way, source in (("pageable", images), ("pinned", images.pin_memory())):
        speed = options.batch / seconds(lambda source=source: source.to(device, non_blocking=True))
        print(f"| transfer of uint8 inputs, {way} | {speed:,.0f} img/s | - | - |")
    import faiss
    import numpy as np

    if faiss.get_num_gpus():
        base = np.random.default_rng(0).standard_normal((options.rows, options.dimension), np.float32)
        base /= np.linalg.norm(base, axis=1, keepdims=True)
        resources, queries = faiss.StandardGpuResources(), base[:16_384]
        took = seconds(lambda: faiss.knn_gpu(resources, queries, base, 27, metric=faiss.METRIC_INNER_PRODUCT))
        hours = took * options.rows / len(queries) / 3600
        print(f"| exact neighbors, {options.rows:,} x {options.dimension}, from a sample of queries | {hours:.2f} h | - | - |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
